# SPDX-License-Identifier: BSL-1.0
# Defines plumb_boost_json, the function bodies of Boost.JSON: Boost's own library where it is installed, otherwise a
# small static library that is compiled once. Used by the build of plumb and by its installed package alike.
if(NOT TARGET plumb_boost_json)
  if(TARGET Boost::json)
    add_library(plumb_boost_json INTERFACE)
    target_link_libraries(plumb_boost_json INTERFACE Boost::json)
  else()
    add_library(plumb_boost_json STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/boost_json.cpp")
    target_compile_features(plumb_boost_json PUBLIC cxx_std_20)
    target_link_libraries(plumb_boost_json PUBLIC Boost::headers)
    set_target_properties(plumb_boost_json PROPERTIES POSITION_INDEPENDENT_CODE ON)
  endif()
endif()
