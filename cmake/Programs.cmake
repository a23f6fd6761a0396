# SPDX-License-Identifier: BSL-1.0
# plumb's own programs: the `plumb` command, the demo, the examples.
# Warnings, tuning and sanitizers are for these alone.
include(CheckCXXCompilerFlag)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(plumb_own INTERFACE)
target_compile_options(
  plumb_own INTERFACE "$<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang,AppleClang>:-Wall;-Wextra;-Wshadow;-Wpedantic>"
                      # clang blames who calls std::stable_sort for what libstdc++ 12 has deprecated of its own.
                      "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>")
if(PLUMB_NATIVE)
  # -mtune=generic: GCC 12's tuning for the newest processors makes matrix products a third slower.
  check_cxx_compiler_flag("-march=native -mtune=generic" PLUMB_NATIVE_WORKS)
  if(PLUMB_NATIVE_WORKS)
    target_compile_options(plumb_own INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-march=native;-mtune=generic>")
  endif()
endif()
if(PLUMB_SANITIZE)
  set(plumb_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(plumb_own INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${plumb_sanitizers}>")
  target_link_options(plumb_own INTERFACE -fsanitize=address,undefined)
  target_compile_options(plumb_impl PRIVATE ${plumb_sanitizers})
endif()

# The CUDA language belongs to the tests and benchmarks; plumb::cuda itself does not need it.
file(GLOB plumb_cuda_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*.cu"
     "${PROJECT_SOURCE_DIR}/benchmarks/*.cu")
if(TARGET plumb::cuda AND PLUMB_BUILD_TESTS AND plumb_cuda_sources)
  # Both have to be known before the language is enabled; CMake alone would look for nvcc on PATH only.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80)  # with its PTX, which later ones compile at start; more would cost minutes
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${PLUMB_NVCC}")
  endif()
  enable_language(CUDA)
endif()

# plumb_program(<target> <source>...): one of plumb's own programs, placed at the top of the build folder.
function(plumb_program target)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE plumb::plumb plumb_own)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
endfunction()

if(PLUMB_BUILD_EXAMPLES)
  # The command-line program; its target is named apart from the library's.
  file(GLOB plumb_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/plumb/*.cpp")
  if(plumb_sources)
    plumb_program(plumb_command ${plumb_sources})
    set_target_properties(plumb_command PROPERTIES OUTPUT_NAME plumb)
    if(PLUMB_INSTALL)
      install(TARGETS plumb_command RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT programs)
    endif()
  endif()

  file(GLOB plumb_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/demo/*.cpp")
  if(plumb_sources)
    plumb_program(demo ${plumb_sources})
  endif()

  add_custom_target(programs)
  foreach(target IN ITEMS plumb_command demo)
    if(TARGET ${target})
      add_dependencies(programs ${target})
    endif()
  endforeach()

  # Each examples/<name>.cpp is a program of its own, build/examples/<name>.
  file(GLOB plumb_examples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/*.cpp")
  add_custom_target(examples)
  foreach(source IN LISTS plumb_examples)
    cmake_path(GET source STEM name)
    plumb_program(example_${name} "${source}")
    set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name}
                                                     RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
    add_dependencies(examples example_${name})
  endforeach()

  add_dependencies(programs examples)

  # Each benchmarks/<name>.cpp or .cu likewise, build/benchmarks/<name>; built by `./dev bench` only.
  file(GLOB plumb_benchmarks CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/benchmarks/*.cpp")
  if(CMAKE_CUDA_COMPILER_LOADED)
    file(GLOB plumb_cuda_benchmarks CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/benchmarks/*.cu")
    list(APPEND plumb_benchmarks ${plumb_cuda_benchmarks})
  endif()
  add_custom_target(benchmarks)
  foreach(source IN LISTS plumb_benchmarks)
    cmake_path(GET source STEM name)
    plumb_program(benchmark_${name} "${source}")
    set_target_properties(
      benchmark_${name} PROPERTIES OUTPUT_NAME ${name} EXCLUDE_FROM_ALL ON ENABLE_EXPORTS ON  # names of callers
                                   RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/benchmarks")
    if(source MATCHES "\\.cu$")
      target_link_libraries(benchmark_${name} PRIVATE plumb::cuda)
    endif()
    add_dependencies(benchmarks benchmark_${name})
  endforeach()
endif()
