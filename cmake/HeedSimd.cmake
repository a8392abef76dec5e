# heed_add_simd_sources(target source…): compiles every *.simd.cpp once per instruction-set level into `target`.
# Each object keeps only its kernel table global (objcopy), so that no inline function compiled for a higher level can be
# merged into code that runs on every machine.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(HEED_ISA_LEVELS baseline avx2 avx512)
  set(HEED_ISA_FLAGS_baseline -march=x86-64-v2)
  set(HEED_ISA_FLAGS_avx2 -march=x86-64-v2 -mavx2 -mfma)
  set(HEED_ISA_FLAGS_avx512 -march=x86-64-v2 -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512cd -mavx512vl
                            -mprefer-vector-width=512
                            # g++ 12 warns about the undefined operands inside its own AVX-512 intrinsics (GCC bug 105593).
                            -Wno-uninitialized -Wno-maybe-uninitialized)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(HEED_ISA_LEVELS neon)
  set(HEED_ISA_FLAGS_neon "")
else()
  set(HEED_ISA_LEVELS baseline)
  set(HEED_ISA_FLAGS_baseline "")
endif()

# Where it does not matter which kernels run: a third of the compilations.
option(HEED_LOWEST_LEVEL "Build the kernels for the lowest instruction-set level alone" OFF)
if(HEED_LOWEST_LEVEL)
  list(GET HEED_ISA_LEVELS 0 HEED_ISA_LEVELS)
  add_compile_definitions(HEED_LOWEST_LEVEL)
endif()

# heed_kernel_optimisation(source level result). In the lean sources loops are unrolled by hand where it pays, or memory
# decides: -O3 would copy the others at half as much code again, and be no faster (measured). The lowest level is for old
# processors, where small code is enough (-Os). Sanitizers' checks make more than -O1 take minutes a file.
set(HEED_LEAN_KERNELS engine/ops/attend.simd.cpp engine/ops/copy.simd.cpp engine/ops/matmul.simd.cpp
                      engine/ops/program.simd.cpp engine/ops/reduce_exact.simd.cpp)
function(heed_kernel_optimisation source level result)
  set(options -O3)
  if(HEED_SANITIZE)
    set(options -O1)
  elseif(level STREQUAL baseline)
    set(options -Os)
  elseif(source IN_LIST HEED_LEAN_KERNELS)
    set(options -O2 -ftree-vectorize -fvect-cost-model=dynamic)
  endif()
  set(${result} ${options} PARENT_SCOPE)
endfunction()

function(heed_add_simd_sources target)
  foreach(source IN LISTS ARGN)
    string(REGEX REPLACE "[/.]" "_" stem ${source})
    foreach(level IN LISTS HEED_ISA_LEVELS)
      set(object_library ${target}_${stem}_${level})
      heed_kernel_optimisation(${source} ${level} optimisation)
      add_library(${object_library} OBJECT ${source})
      target_compile_features(${object_library} PRIVATE cxx_std_20)
      target_compile_definitions(${object_library} PRIVATE HEED_ISA_LEVEL=${level})
      # Kernels are optimised in every configuration: at -O0 their inline helpers would not be inlined, and registers
      # arrays would live in memory. Contraction is off, so that a result's bits depend on the source alone.
      target_compile_options(${object_library} PRIVATE ${HEED_ISA_FLAGS_${level}} ${optimisation}
                                                       -ffp-contract=off -fno-math-errno -fno-trapping-math
                                                       # objcopy cannot make "unique" symbols local
                                                       $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
      target_link_libraries(${object_library} PRIVATE heed_settings xsimd)
      set(isolated ${CMAKE_CURRENT_BINARY_DIR}/simd/${stem}_${level}.o)
      add_custom_command(
        OUTPUT ${isolated}
        COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=*_kernelsE --remove-section=.group
                $<TARGET_OBJECTS:${object_library}> ${isolated}
        DEPENDS ${object_library} $<TARGET_OBJECTS:${object_library}>
        COMMENT "Isolating ${source} for ${level}"
        VERBATIM)
      set_source_files_properties(${isolated} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
      target_sources(${target} PRIVATE ${isolated})
    endforeach()
  endforeach()
endfunction()
