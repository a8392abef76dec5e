# What `cmake --install` puts down: static libraries, public headers, a CMake package and a pkg-config file.

set(heed_libraries heed_engine heed_nn)
if(TARGET heed_optim)
  list(APPEND heed_libraries heed_optim)
endif()
foreach(library IN LISTS heed_libraries)
  string(REPLACE heed_ "" short_name ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${short_name})
endforeach()

set_target_properties(heed_distributed PROPERTIES EXPORT_NAME distributed)
install(TARGETS ${heed_libraries} heed_distributed heed EXPORT heedTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Kernels (engine/ops) and what includes xsimd or serves the library alone stay behind.
install(
  DIRECTORY engine nn optim
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/heed
  FILES_MATCHING
  PATTERN "*.h"
  PATTERN "engine/ops" EXCLUDE
  PATTERN "engine/cuda" EXCLUDE
  PATTERN "engine/special_formulas.h" EXCLUDE
  PATTERN "engine/lane.h" EXCLUDE
  PATTERN "engine/dual.h" EXCLUDE)

set(heed_package ${CMAKE_INSTALL_LIBDIR}/cmake/heed)
install(EXPORT heedTargets NAMESPACE heed:: DESTINATION ${heed_package})
configure_package_config_file(cmake/heedConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/heedConfig.cmake
                              INSTALL_DESTINATION ${heed_package})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/heedConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/heedConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/heedConfigVersion.cmake
        DESTINATION ${heed_package})

# Dependents come before what they need, as static linking wants it.
set(heed_link_flags "")
foreach(library IN LISTS heed_libraries)
  string(PREPEND heed_link_flags "-l${library} ")
endforeach()
if(NOT HEED_FMT_HEADER_ONLY)
  string(APPEND heed_link_flags "-lfmt ")
endif()
string(APPEND heed_link_flags "-pthread")
# Relative to the file itself, so that an installation can be moved.
file(RELATIVE_PATH heed_prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/heed.pc.in ${CMAKE_CURRENT_BINARY_DIR}/heed.pc @ONLY)
configure_file(cmake/heed-distributed.pc.in ${CMAKE_CURRENT_BINARY_DIR}/heed-distributed.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/heed.pc ${CMAKE_CURRENT_BINARY_DIR}/heed-distributed.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
