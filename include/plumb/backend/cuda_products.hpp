// SPDX-License-Identifier: BSL-1.0
// Matrix products by cuBLASLt: what plumb::cuda uses where the bits of a row may depend on the number of rows.
#pragma once

#if defined(__CUDACC__)

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include <plumb/backend/cuda_device.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::gpu {

/// The largest power of two up to 256 that divides an address: cuBLASLt's kernels differ by alignment.
inline std::uint32_t alignment_of(const void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory) | 256u;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// What cuBLASLt asks about a matrix: it counts columns first, so to it our matrix [rows, columns] is [columns, rows].
template <class T>
cublasLtMatrixLayoutOpaque_t layout_of(index_t rows, index_t columns) {
  cublasLtMatrixLayoutOpaque_t layout{};
  check(cublasLtMatrixLayoutInit(&layout, std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_64F,
                                 static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows), columns),
        "describe a matrix");
  return layout;
}

/// The fastest way that cuBLASLt knows for a product, asked once for each kind, shape and alignment.
/// Null when it knows none.
template <class T>
const cublasLtMatmulHeuristicResult_t* choose_product(cuda_device& d, product kind, const T* a, const T* b, const T* c,
                                                      index_t depth, const view<T>& out,
                                                      cublasLtMatmulDescOpaque_t& work,
                                                      cublasLtMatrixLayoutOpaque_t& left,
                                                      cublasLtMatrixLayoutOpaque_t& right,
                                                      cublasLtMatrixLayoutOpaque_t& result) {
  const std::uint32_t align_a = alignment_of(a), align_b = alignment_of(b), align_c = alignment_of(c);
  const cuda_device::product_key key{
      static_cast<index_t>(kind), out.rows, out.columns, depth, sizeof(T), align_a, align_b, align_c};
  auto& choices = d.product_choices();
  if (const auto found = choices.find(key); found != choices.end()) return &found->second;
  cublasLtMatmulPreferenceOpaque_t wish{};
  check(cublasLtMatmulPreferenceInit(&wish), "describe a product");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(&wish, what, &value, sizeof value), "describe a product");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(d.options().product_workspace));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);  // the operands change places, see multiply_by_library
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_c);
  cublasLtMatmulHeuristicResult_t answer{};
  int answers = 0;
  const auto status =
      cublasLtMatmulAlgoGetHeuristic(d.products(), &work, &left, &right, &result, &result, &wish, 1, &answer, &answers);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && answers == 0)) return nullptr;
  check(status, "choose a way to multiply");
  if (choices.size() >= 4096) choices.clear();  // batches of ever new sizes must not fill the memory
  return &choices.emplace(key, answer).first->second;
}

/// C = β C + α op(A, B) as Cᵀ = β Cᵀ + α op(B)ᵀ op(A)ᵀ, which is how the product looks to a library that counts columns
/// first. False, with nothing done, when cuBLASLt has no kernel for it.
template <class T>
bool multiply_by_library(cuda_device& d, product kind, T alpha, view<const T> a, view<const T> b, T beta, view<T> c) {
  const index_t depth = kind == product::tn ? a.rows : a.columns;
  if (c.empty() || depth == 0) return false;
  const current_gpu here(d.ordinal());
  const bool is_float = std::is_same_v<T, float>;
  const auto unit = !is_float          ? CUBLAS_COMPUTE_64F
                    : d.options().tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                       : CUBLAS_COMPUTE_32F;
  cublasLtMatmulDescOpaque_t work{};
  check(cublasLtMatmulDescInit(&work, unit, is_float ? CUDA_R_32F : CUDA_R_64F), "describe a product");
  const cublasOperation_t first = kind == product::nt ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = kind == product::tn ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(&work, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "describe a product");
  check(cublasLtMatmulDescSetAttribute(&work, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
        "describe a product");
  auto left = layout_of<T>(b.rows, b.columns), right = layout_of<T>(a.rows, a.columns);
  auto result = layout_of<T>(c.rows, c.columns);
  const auto* way = choose_product<T>(d, kind, a.data, b.data, c.data, depth, c, work, left, right, result);
  if (!way) return false;
  check(cublasLtMatmul(d.products(), &work, &alpha, b.data, &left, a.data, &right, &beta, c.data, &result, c.data,
                       &result, &way->algo, way->workspaceSize ? d.product_workspace() : nullptr, way->workspaceSize,
                       d.stream()),
        "multiply matrices");
  return true;
}

}  // namespace plumb::inline v0::detail::gpu

#endif
