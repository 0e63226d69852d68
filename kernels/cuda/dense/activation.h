// The MLP's activations, for the kernels that apply them.
#pragma once

#include <cmath>

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

FMA_DEVICE float Sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

/// act(x); swiglu: silu(x) * up. See Backend::Activate.
FMA_DEVICE float Activated(MlpKind kind, float x, float up) {
  switch (kind) {
    case MlpKind::kGelu:
      return 0.5F * x * (1.0F + std::erf(x * 0.70710678118654752F));
    case MlpKind::kGeluTanh:
      // x / 2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
      return x * Sigmoid(1.5957691216057308F * (x + 0.044715F * x * x * x));
    case MlpKind::kSwiglu:
      return x * Sigmoid(x) * up;
  }
  return 0;
}

}  // namespace fmaserver::kernels::cuda
