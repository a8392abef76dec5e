# CUDA's part of the library: a module of its own, loaded when a program first asks for a CUDA device, so that one binary
# runs with and without a driver. cudart is linked into it; nothing else of CUDA is a dependency.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "HEED_CUDA: nvcc was not found. Put it on PATH, or configure with -DHEED_CUDA=OFF.")
endif()
if(NOT CMAKE_CUDA_COMPILER_LAUNCHER AND HEED_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${HEED_CCACHE})
endif()
enable_language(CUDA)

file(GLOB heed_cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/ops/*.cu ${PROJECT_SOURCE_DIR}/engine/cuda/*.cu)
add_library(heed_cuda MODULE ${heed_cuda_sources})
# Machine code for these, and PTX of the first for what comes after them.
set(HEED_CUDA_ARCHITECTURES "80;90-real;100-real;120-real" CACHE STRING "Architectures of the CUDA module")
set_target_properties(
  heed_cuda
  PROPERTIES CUDA_ARCHITECTURES "${HEED_CUDA_ARCHITECTURES}"
             CUDA_RUNTIME_LIBRARY Static
             CUDA_VISIBILITY_PRESET hidden
             LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
target_compile_options(heed_cuda PRIVATE -std=c++20 --expt-relaxed-constexpr)  # CMake 3.25 knows no standard of nvcc 13
target_include_directories(heed_cuda PRIVATE ${PROJECT_BINARY_DIR}/include)
target_link_libraries(heed_cuda PRIVATE heed_engine)
install(TARGETS heed_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
