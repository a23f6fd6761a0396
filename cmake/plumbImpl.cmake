# SPDX-License-Identifier: BSL-1.0
# Defines plumb_impl, a static library that is compiled once: all of plumb's function bodies that are not templates, the
# cpu backend's kernels, the families of models (a file of their own, so that it compiles beside the other) and, unless Boost's own compiled library is installed, the function bodies of Boost.JSON. Used by
# the build of plumb and by its installed package alike; plumb_include_dir is where the headers are.
if(NOT TARGET plumb_impl)
  if(TARGET Boost::json)
    add_library(plumb_impl STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/impl_without_boost.cpp"
                "${CMAKE_CURRENT_LIST_DIR}/families.cpp")
    target_link_libraries(plumb_impl PUBLIC Boost::json Threads::Threads)
  else()
    add_library(plumb_impl STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/impl.cpp"
                "${CMAKE_CURRENT_LIST_DIR}/families.cpp")
    target_link_libraries(plumb_impl PUBLIC Boost::headers Threads::Threads)
  endif()
  target_compile_features(plumb_impl PUBLIC cxx_std_20)
  target_link_libraries(plumb_impl PRIVATE Eigen3::Eigen)
  target_include_directories(plumb_impl PRIVATE "${plumb_include_dir}")
  # A project without a build type would get slow kernels, even where its own targets ask for optimisation.
  target_compile_options(plumb_impl PRIVATE "$<$<STREQUAL:$<CONFIG>,>:-O2>")
  set_target_properties(plumb_impl PROPERTIES POSITION_INDEPENDENT_CODE ON)
endif()
