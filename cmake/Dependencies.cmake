# SPDX-License-Identifier: BSL-1.0
# Finds what plumb needs. All that is missing is reported in one message, with the line that installs it.
# Nothing is ever downloaded.
include("${CMAKE_CURRENT_LIST_DIR}/plumbAccelerators.cmake")

# Seen from a project that includes this one, the targets found here must exist in its folders too.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)

set(plumb_missing "")
set(plumb_missing_packages "")

# Eigen 3.4's version file accepts no range and refuses 5, so the two are asked for in turn.
find_package(Eigen3 3.4 CONFIG QUIET)
if(NOT Eigen3_FOUND)
  find_package(Eigen3 5 CONFIG QUIET)
endif()
if(NOT Eigen3_FOUND)
  list(APPEND plumb_missing "Eigen 3.4 or 5 (linear algebra)")
  list(APPEND plumb_missing_packages libeigen3-dev)
endif()

# range-v3's version file accepts only the exact version, so none is given.
find_package(range-v3 CONFIG QUIET)
if(NOT range-v3_FOUND)
  list(APPEND plumb_missing "range-v3 (lazy data pipelines)")
  list(APPEND plumb_missing_packages librange-v3-dev)
endif()

# The headers are enough; Boost's compiled JSON library is used when it is there.
find_package(Boost 1.75 CONFIG QUIET OPTIONAL_COMPONENTS json)
if(NOT Boost_FOUND)
  list(APPEND plumb_missing "Boost 1.75 or later, for Boost.JSON")
  # Debian 12's libboost-dev is 1.74, too old by one version; newer releases have no libboost1.81-dev.
  set(plumb_boost_package libboost-dev)
  find_program(PLUMB_APT_CACHE apt-cache)
  mark_as_advanced(PLUMB_APT_CACHE)
  if(PLUMB_APT_CACHE)
    execute_process(COMMAND ${PLUMB_APT_CACHE} show libboost1.81-dev RESULT_VARIABLE plumb_apt OUTPUT_QUIET ERROR_QUIET)
    if(plumb_apt EQUAL 0)
      set(plumb_boost_package libboost1.81-dev)
    endif()
  endif()
  list(APPEND plumb_missing_packages ${plumb_boost_package})
endif()

find_package(Threads QUIET)
if(NOT Threads_FOUND)
  list(APPEND plumb_missing "a threads library")
endif()

# Catch2 3 where it is installed, else 2: tests/catch.hpp hides the difference.
if(PLUMB_BUILD_TESTS)
  find_package(Catch2 3 CONFIG QUIET)
  if(NOT Catch2_FOUND)
    find_package(Catch2 2.13 CONFIG QUIET)
  endif()
  if(NOT Catch2_FOUND)
    list(APPEND plumb_missing "Catch2 2.13 or 3 (tests, or configure with -DPLUMB_BUILD_TESTS=OFF)")
    list(APPEND plumb_missing_packages catch2)
  endif()
endif()

# CUDA and Thrust are optional, unless asked for.
plumb_find_accelerators()
if(PLUMB_CUDA STREQUAL "ON" AND NOT PLUMB_HAS_CUDA)
  list(APPEND plumb_missing "the CUDA toolkit 12.4 or later with cuBLAS (or configure with -DPLUMB_CUDA=OFF)")
endif()

if(plumb_missing)
  list(JOIN plumb_missing "\n    " plumb_missing_text)
  set(plumb_advice "")
  if(plumb_missing_packages)
    list(JOIN plumb_missing_packages " " plumb_missing_packages_text)
    set(plumb_advice
        "\n  On Debian and Ubuntu, install it with\n    sudo apt-get install -y ${plumb_missing_packages_text}"
        "\n  Elsewhere use your package manager, and name unusual places with -DCMAKE_PREFIX_PATH=...")
    list(JOIN plumb_advice "" plumb_advice)
  endif()
  message(FATAL_ERROR "plumb needs what was not found:\n    ${plumb_missing_text}${plumb_advice}")
endif()
unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)
