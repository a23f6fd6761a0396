# SPDX-License-Identifier: BSL-1.0
# ctest entries that are no Catch2 programs: the laws of docs/design/conventions.md, the compile-time budgets, what
# the pages and the examples promise, and projects that use plumb. Label `check` for what is fast, `slow` for the rest.

# plumb_check(<name> <label> <command>...)
function(plumb_check name label)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 4 TIMEOUT 900 LABELS ${label})
endfunction()

plumb_check(check.format check "${PROJECT_SOURCE_DIR}/tools/format.sh" --check)

# The options that compile a program against a target, one a line, for the scripts in tools/.
set(flags "${PROJECT_BINARY_DIR}/flags")
foreach(target IN ITEMS plumb plumb_thrust)
  if(TARGET ${target})
    set(all "$<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>")
    set(others "$<FILTER:$<REMOVE_DUPLICATES:${all}>,EXCLUDE,^(${PROJECT_SOURCE_DIR}/include|/usr/include)$>")
    file(GENERATE OUTPUT "${flags}/${target}.txt"
         CONTENT "-I${PROJECT_SOURCE_DIR}/include\n$<$<BOOL:${others}>:-isystem$<JOIN:${others},\n-isystem>>\n")
  endif()
endforeach()
# Where Boost has its own JSON library, programs link that one, too.
set(json "--link=$<TARGET_LINKER_FILE:plumb_impl>")
if(TARGET Boost::json)
  list(APPEND json "--link=$<TARGET_LINKER_FILE:Boost::json>")
endif()
add_custom_target(plumb_impl_for_snippets ALL DEPENDS plumb_impl)

if(Python3_FOUND)
  set(tools "${PROJECT_SOURCE_DIR}/tools")
  set(python "${Python3_EXECUTABLE}" -B)
  set(how --cxx "${CMAKE_CXX_COMPILER}" --flags "${flags}/plumb.txt")
  set(more "")
  if(TARGET plumb_thrust)
    list(APPEND more --thrust-flags "${flags}/plumb_thrust.txt")
  endif()
  if(TARGET plumb_cuda)
    list(APPEND more --nvcc "${PLUMB_NVCC}")
  endif()

  plumb_check(check.layers check ${python} "${tools}/check_layers.py")
  plumb_check(check.layers.self-test check ${python} "${tools}/check_layers.py" --self-test)
  plumb_check(check.source check ${python} "${tools}/check_source.py")
  plumb_check(check.source.self-test check ${python} "${tools}/check_source.py" --self-test)

  plumb_check(check.headers slow ${python} "${tools}/check_headers.py" ${how} ${more})
  plumb_check(check.headers.self-test check ${python} "${tools}/check_headers.py" ${how} --self-test)
  plumb_check(check.snippets slow ${python} "${tools}/check_snippets.py" ${how} ${json})
  plumb_check(check.snippets.self-test check ${python} "${tools}/check_snippets.py" ${how} --self-test)
  plumb_check(check.compile-time slow ${python} "${tools}/check_compile_time.py" ${how} --tolerance 1)
  # The scripts keep every processor busy, and times are measured alone.
  set_tests_properties(check.headers check.snippets PROPERTIES PROCESSORS 2)
  set_tests_properties(check.compile-time PROPERTIES RUN_SERIAL ON)

  # Programs that must not compile, and the message that each must give.
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/run.py")
    plumb_check(check.compile-fail check ${python} "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/run.py"
                "${CMAKE_CXX_COMPILER}" "${PROJECT_SOURCE_DIR}/include")
  endif()
else()
  message(STATUS "plumb: without Python 3.9 the checks of tools/ are left out")
endif()

# Projects that use plumb in the three usual ways.
foreach(way IN ITEMS find_package add_subdirectory fetch_content)
  plumb_check(
    consumer.${way} slow "${CMAKE_COMMAND}" "-DWAY=${way}" "-DSOURCE=${PROJECT_SOURCE_DIR}"
    "-DBUILT=${PROJECT_BINARY_DIR}" "-DGENERATOR=${CMAKE_GENERATOR}" "-DCXX=${CMAKE_CXX_COMPILER}"
    "-DPREFIX_PATH=${CMAKE_PREFIX_PATH}" -P "${CMAKE_CURRENT_SOURCE_DIR}/consumers/run.cmake")
endforeach()

# The examples are programs that readers run, so they are run here: `// run: <arguments>` among the first fifteen lines
# gives arguments, `// run: none` only builds. {source} stands for the repository and {data} for
# ../shared/data, without which the example is skipped.
foreach(source IN LISTS plumb_examples)
  cmake_path(GET source STEM name)
  file(READ "${source}" head LIMIT 2000)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  set(arguments "")
  if(head MATCHES "(^|\n)// run: ([^\n]*)")
    separate_arguments(arguments UNIX_COMMAND "${CMAKE_MATCH_2}")
  endif()
  if("${arguments}" STREQUAL "none")
    continue()
  endif()
  set(data "${PROJECT_SOURCE_DIR}/../shared/data")
  cmake_path(NORMAL_PATH data)
  set(folder "${PROJECT_BINARY_DIR}/examples/run/${name}")
  file(MAKE_DIRECTORY "${folder}")
  if("${arguments}" MATCHES "{data}" AND NOT IS_DIRECTORY "${data}")
    add_test(NAME example.${name} COMMAND "${CMAKE_COMMAND}" -E echo "skipped: no ../shared/data beside the repository")
    set_tests_properties(example.${name} PROPERTIES SKIP_REGULAR_EXPRESSION "^skipped:" LABELS example)
  else()
    string(REPLACE "{data}" "${data}" arguments "${arguments}")
    string(REPLACE "{source}" "${PROJECT_SOURCE_DIR}" arguments "${arguments}")
    add_test(NAME example.${name} COMMAND example_${name} ${arguments} WORKING_DIRECTORY "${folder}")
    set_tests_properties(example.${name} PROPERTIES TIMEOUT 300 LABELS example)
  endif()
endforeach()

# Whole programs take ten to twenty times as long under the sanitizers.
set(program_seconds 900)
set(demo_seconds 600)
if(PLUMB_SANITIZE)
  set(program_seconds 3600)
  set(demo_seconds 3600)
endif()

# The plumb program, driven as a user would.
if(TARGET plumb_command AND Python3_FOUND)
  add_test(NAME program.plumb COMMAND ${Python3_EXECUTABLE} -B "${CMAKE_CURRENT_SOURCE_DIR}/test_program.py" $<TARGET_FILE:plumb_command>)
  set_tests_properties(program.plumb PROPERTIES TIMEOUT ${program_seconds} LABELS unit)
endif()

# The demo's whole way, with a model too small to learn anything.
if(TARGET demo)
  add_test(NAME example.demo COMMAND demo --quick --out "${PROJECT_BINARY_DIR}/examples/run/demo")
  # Of the contest, one of each kind of material that objectives are shown.
  add_test(
    NAME example.contest
    COMMAND demo --quick --out "${PROJECT_BINARY_DIR}/examples/run/contest" --only sft_chosen conditional rho1 distill rloo
            remax opo reinforce++ grpo dr_grpo dapo ppo a2po nash_md online_dpo xpo raft dno reward reward_regression
            process_reward plackett_luce infonce)
  set_tests_properties(example.demo example.contest PROPERTIES TIMEOUT ${demo_seconds} LABELS example)
endif()
