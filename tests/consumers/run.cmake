# SPDX-License-Identifier: BSL-1.0
# Configures and builds one project that uses plumb, in a fresh folder; after an install (find_package) runs it, too.
set(work "${BUILT}/consumers/${WAY}")
file(REMOVE_RECURSE "${work}")
file(MAKE_DIRECTORY "${work}")

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    string(JOIN " " command ${ARGV})
    message(FATAL_ERROR "${command}\nreturned ${status}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(where "-DPLUMB_SOURCE=${SOURCE}")
if(WAY STREQUAL "find_package")
  run("${CMAKE_COMMAND}" --install "${BUILT}" --prefix "${work}/prefix" --component development)
  # The package has to stand alone: installed elsewhere than where it was made, and without the build folder.
  file(RENAME "${work}/prefix" "${work}/moved")
  set(where "-Dplumb_ROOT=${work}/moved")
  file(GLOB_RECURSE scripts "${work}/moved/*.cmake")
  foreach(script IN LISTS scripts)
    file(READ "${script}" text)
    foreach(place IN ITEMS "${SOURCE}/" "${BUILT}/")
      string(FIND "${text}" "${place}" found)
      if(NOT found EQUAL -1)
        message(FATAL_ERROR "${script} names ${place}")
      endif()
    endforeach()
  endforeach()
endif()

run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/consumers/${WAY}" -B "${work}/build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_PREFIX_PATH=${PREFIX_PATH}" "${where}")
if(WAY STREQUAL "find_package")
  run("${CMAKE_COMMAND}" --build "${work}/build")
  run("${work}/build/app")
else()  # with the targets of plumb's own build, whose programs are linked and run
  run("${CMAKE_COMMAND}" --build "${work}/build" --target app_objects)
endif()
message("${WAY}: ${output}")
