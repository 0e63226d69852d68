// Row-wise and element-wise operations: normalisations and MLP activations.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::kernels::cpu {

class PackedNorm : public NormWeights {
 public:
  explicit PackedNorm(const HostNorm& norm = {});

  NormKind kind;
  float eps;
  AlignedArray<float> weight;  ///< [D]; null: nothing is normed
  AlignedArray<float> bias;    ///< [D]; null: none
};

/// layernorm: (x - mean) / sqrt(var + eps) * w + b; rmsnorm: x / sqrt(mean(x^2) + eps) * w.
void Norm(ThreadPool& pool, Matrix x, const PackedNorm& weights, Matrix out);

/// `count` heads of `dim` columns, the first of them from column `first` * dim on.
struct HeadColumns {
  int64_t first = 0;
  int64_t count = 0;
  int64_t dim = 0;
};

/// Norms these heads of every row of x in place, each by itself with the weights [dim]. Does
/// nothing without weights.
void NormHeads(ThreadPool& pool, const PackedNorm& weights, HeadColumns heads, Matrix x);

/// See Backend::Activate.
void Activate(ThreadPool& pool, MlpKind kind, Matrix in, Matrix out);

}  // namespace fmaserver::kernels::cpu
