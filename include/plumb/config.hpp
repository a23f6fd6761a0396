// SPDX-License-Identifier: BSL-1.0
// Every macro of the library (six at most), and the one setting of a dependency that must come before its headers.
#pragma once

/// The version as one number, `10000 * major + 100 * minor + patch`, for `#if`; `version.hpp` has it as constants.
/// This line is the only place that states the version: the build scripts read it too.
#define PLUMB_VERSION 100

/// Marks a function that runs on the CPU and, when the CUDA compiler reads it, on the GPU as well.
#if defined(__CUDACC__)
#define PLUMB_HD __host__ __device__
#else
#define PLUMB_HD
#endif

/// Defined where kernels for the vectors of x86-64 stand beside those for any machine. A whole program that defines
/// PLUMB_PORTABLE has the latter alone, as other processors do.
#if defined(__x86_64__) && !defined(PLUMB_PORTABLE)
#define PLUMB_X86
#endif

/// Before the templates that plumb::compiled holds ready (compiled.hpp): `extern` in programs, nothing in src/plumb.cpp.
#if !defined(PLUMB_INSTANTIATE)
#define PLUMB_INSTANTIATE extern
#endif

// Under the CUDA compiler Eigen 3.4 drops all vector instructions, on the host too. The linker then keeps either the
// fast or the slow copy of each template, so the order of object files would decide the speed of the whole program.
// plumb uses Eigen on the host only; EIGEN_NO_CUDA tells it so, and has to be known before Eigen is read.
#if defined(__CUDACC__)
#if defined(EIGEN_CORE_H) && defined(EIGEN_GPUCC)
#error "plumb: include a plumb header before <Eigen/...> in a .cu file, or define EIGEN_NO_CUDA for the whole program"
#endif
#if !defined(EIGEN_NO_CUDA)
#define EIGEN_NO_CUDA
#endif
#endif
