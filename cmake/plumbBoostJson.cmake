# SPDX-License-Identifier: BSL-1.0
# Defines plumb_boost_json, a small static library that is compiled once: the body of plumb's JSON parser and, unless
# Boost's own compiled library is installed, the function bodies of Boost.JSON. Used by the build of plumb and by its
# installed package alike; plumb_include_dir is where the headers are.
if(NOT TARGET plumb_boost_json)
  if(TARGET Boost::json)
    add_library(plumb_boost_json STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/json_parse.cpp")
    target_link_libraries(plumb_boost_json PUBLIC Boost::json)
  else()
    add_library(plumb_boost_json STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/boost_json.cpp")
    target_link_libraries(plumb_boost_json PUBLIC Boost::headers)
  endif()
  target_compile_features(plumb_boost_json PUBLIC cxx_std_20)
  target_include_directories(plumb_boost_json PRIVATE "${plumb_include_dir}")
  set_target_properties(plumb_boost_json PROPERTIES POSITION_INDEPENDENT_CODE ON)
endif()
