# SPDX-License-Identifier: BSL-1.0
# plumb::cuda and plumb::thrust, defined where the machine has what they need. Used by the build of plumb and by its
# installed package alike, so that a package made without CUDA serves a machine that has it, and the other way round.

# Sets PLUMB_HAS_CUDA and PLUMB_HAS_THRUST in the caller's scope.
macro(plumb_find_accelerators)
  # The CUDA compiler is often installed outside PATH.
  set(PLUMB_HAS_CUDA OFF)
  set(plumb_cuda_root "")
  if(NOT "${PLUMB_CUDA}" STREQUAL "OFF")
    if(DEFINED ENV{CUDACXX} AND NOT PLUMB_NVCC)
      set(PLUMB_NVCC "$ENV{CUDACXX}" CACHE FILEPATH "The CUDA compiler")
    endif()
    find_program(PLUMB_NVCC nvcc PATHS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(PLUMB_NVCC)
    if(PLUMB_NVCC)
      cmake_path(GET PLUMB_NVCC PARENT_PATH plumb_cuda_root)
      cmake_path(GET plumb_cuda_root PARENT_PATH plumb_cuda_root)
      if(NOT DEFINED CUDAToolkit_ROOT)
        set(CUDAToolkit_ROOT "${plumb_cuda_root}")
      endif()
      find_package(CUDAToolkit 12.4 QUIET)
      if(CUDAToolkit_FOUND AND TARGET CUDA::cublasLt)
        set(PLUMB_HAS_CUDA ON)
      endif()
    endif()
  endif()

  # Without a GPU Thrust needs only its headers: those of the CUDA toolkit, or Debian's libthrust-dev.
  set(PLUMB_HAS_THRUST OFF)
  find_path(
    PLUMB_THRUST_INCLUDE thrust/version.h
    HINTS "${plumb_cuda_root}/include/cccl" "${plumb_cuda_root}/include" /usr/local/cuda/include/cccl
          /usr/local/cuda/include)
  mark_as_advanced(PLUMB_THRUST_INCLUDE)
  if(PLUMB_THRUST_INCLUDE)
    set(PLUMB_HAS_THRUST ON)
    if(NOT PLUMB_THRUST_DEVICE_SYSTEM MATCHES "^(CPP|TBB)$")
      find_package(OpenMP QUIET COMPONENTS CXX)
    elseif(PLUMB_THRUST_DEVICE_SYSTEM STREQUAL "TBB")
      find_package(TBB QUIET CONFIG)
    endif()
  endif()
endmacro()

# Defines the targets that the last call of plumb_find_accelerators() found possible.
function(plumb_define_accelerators)
  if(PLUMB_HAS_CUDA AND NOT TARGET plumb::cuda)
    add_library(plumb_cuda INTERFACE)
    add_library(plumb::cuda ALIAS plumb_cuda)
    target_link_libraries(plumb_cuda INTERFACE plumb::plumb CUDA::cudart CUDA::cublasLt CUDA::cublas)
    # CMake before 3.26 does not know that nvcc speaks C++20, so the option is given unless the target sets a standard.
    target_compile_options(
      plumb_cuda
      INTERFACE
        "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>"
        "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<NOT:$<BOOL:$<TARGET_PROPERTY:CUDA_STANDARD>>>>:-std=c++20>")
  endif()

  if(PLUMB_HAS_THRUST AND NOT TARGET plumb::thrust)
    add_library(plumb_thrust INTERFACE)
    add_library(plumb::thrust ALIAS plumb_thrust)
    target_link_libraries(plumb_thrust INTERFACE plumb::plumb)
    # /usr/include is searched anyway, and naming it again would disturb the compiler's own search order.
    if(NOT PLUMB_THRUST_INCLUDE STREQUAL "/usr/include")
      target_include_directories(plumb_thrust SYSTEM INTERFACE "${PLUMB_THRUST_INCLUDE}")
    endif()
    set(system CPP)
    if(PLUMB_THRUST_DEVICE_SYSTEM MATCHES "^(OMP|CPP|TBB)$")
      set(system ${PLUMB_THRUST_DEVICE_SYSTEM})
    elseif(TARGET OpenMP::OpenMP_CXX)
      set(system OMP)
    endif()
    target_compile_definitions(
      plumb_thrust INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:THRUST_DEVICE_SYSTEM=THRUST_DEVICE_SYSTEM_${system}>")
    if(system STREQUAL "OMP")
      target_link_libraries(plumb_thrust INTERFACE OpenMP::OpenMP_CXX)
    elseif(system STREQUAL "TBB")
      target_link_libraries(plumb_thrust INTERFACE TBB::tbb)
    endif()
  endif()
endfunction()
