# SPDX-License-Identifier: BSL-1.0
# What can be chosen. A project that includes plumb gets the library alone; a plain checkout gets everything.
option(PLUMB_BUILD_EXAMPLES "Build the plumb program, the examples and the demo" ${PROJECT_IS_TOP_LEVEL})
option(PLUMB_BUILD_TESTS "Build and register the tests" ${PROJECT_IS_TOP_LEVEL})
option(PLUMB_INSTALL "Install the headers and the CMake package" ${PROJECT_IS_TOP_LEVEL})
option(PLUMB_BUILD_COMPILED "Offer plumb::compiled, a library with the common templates instantiated once" OFF)
option(PLUMB_NATIVE "Build plumb's own programs for this machine's processor (never those that use plumb)"
       ${PROJECT_IS_TOP_LEVEL})
option(PLUMB_SANITIZE "Build plumb's own programs with the address and undefined-behaviour sanitizers" OFF)

set(PLUMB_CUDA "AUTO" CACHE STRING "Offer plumb::cuda and build the CUDA tests: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE PLUMB_CUDA PROPERTY STRINGS AUTO ON OFF)

set(PLUMB_THRUST_DEVICE_SYSTEM "AUTO"
    CACHE STRING "What plumb::thrust runs on: AUTO (OMP with OpenMP, else CPP), OMP, CPP or TBB")
set_property(CACHE PLUMB_THRUST_DEVICE_SYSTEM PROPERTY STRINGS AUTO OMP CPP TBB)

# A plain `cmake -B build` of a checkout should not silently build slow programs.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()
