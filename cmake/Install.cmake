# SPDX-License-Identifier: BSL-1.0
# Installs the headers and a CMake package, so that find_package(plumb) works. Installed by `cmake --install build`.
include(CMakePackageConfigHelpers)

set(plumb_package "${CMAKE_INSTALL_LIBDIR}/cmake/plumb")
# A header-only package fits every architecture; with the compiled library it does not.
if(NOT PLUMB_BUILD_COMPILED)
  set(plumb_package "${CMAKE_INSTALL_DATADIR}/cmake/plumb")
  set(plumb_any_architecture ARCH_INDEPENDENT)
endif()

install(TARGETS ${plumb_exported} EXPORT plumbTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT development)
install(EXPORT plumbTargets NAMESPACE plumb:: DESTINATION "${plumb_package}" COMPONENT development)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/plumbConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/package/plumbConfig.cmake" INSTALL_DESTINATION "${plumb_package}"
                              PATH_VARS CMAKE_INSTALL_INCLUDEDIR)
# Before 1.0 a new minor version may break what used the old one.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/plumbConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion ${plumb_any_architecture})
install(FILES "${PROJECT_BINARY_DIR}/package/plumbConfig.cmake"
              "${PROJECT_BINARY_DIR}/package/plumbConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/plumbAccelerators.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/plumbImpl.cmake" "${PROJECT_SOURCE_DIR}/cmake/impl.cpp"
              "${PROJECT_SOURCE_DIR}/cmake/impl_without_boost.cpp" "${PROJECT_SOURCE_DIR}/cmake/families.cpp"
        DESTINATION "${plumb_package}" COMPONENT development)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT development)
