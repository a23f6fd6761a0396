# SPDX-License-Identifier: BSL-1.0
# The targets that other projects link to.
#
#   plumb::plumb     the headers and what they need
#   plumb::cuda      plumb::plumb with the CUDA backend (when the toolkit is found)
#   plumb::thrust    plumb::plumb with Thrust on the processor (when its headers are found)
#   plumb::compiled  plumb::plumb with the common templates instantiated once (PLUMB_BUILD_COMPILED)
include(GNUInstallDirs)
set(plumb_include_dir "${PROJECT_SOURCE_DIR}/include")
include("${CMAKE_CURRENT_LIST_DIR}/plumbImpl.cmake")

file(GLOB_RECURSE plumb_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/plumb/*.hpp"
     "${PROJECT_SOURCE_DIR}/include/plumb/*.cuh")

add_library(plumb INTERFACE)
add_library(plumb::plumb ALIAS plumb)
target_sources(plumb INTERFACE FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${plumb_headers})
target_compile_features(plumb INTERFACE cxx_std_20)
target_link_libraries(
  plumb INTERFACE Eigen3::Eigen Boost::headers range-v3::range-v3 Threads::Threads
                  "$<BUILD_INTERFACE:plumb_impl>" "$<INSTALL_INTERFACE:plumb::impl>")
# Under nvcc Eigen would lose its vector instructions on the host as well; see plumb/config.hpp.
target_compile_definitions(plumb INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:EIGEN_NO_CUDA>")
set(plumb_exported plumb)

plumb_define_accelerators()

if(PLUMB_BUILD_COMPILED)
  file(GLOB_RECURSE plumb_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*.cpp")
  if(NOT plumb_sources)
    message(FATAL_ERROR "PLUMB_BUILD_COMPILED: there are no sources in ${PROJECT_SOURCE_DIR}/src")
  endif()
  add_library(plumb_compiled STATIC ${plumb_sources})
  add_library(plumb::compiled ALIAS plumb_compiled)
  set_target_properties(plumb_compiled PROPERTIES EXPORT_NAME compiled POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(plumb_compiled PUBLIC plumb)
  target_compile_definitions(plumb_compiled PUBLIC PLUMB_COMPILED)
  list(APPEND plumb_exported plumb_compiled)
endif()
