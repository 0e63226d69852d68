#include "kernels/cpu/pointwise.h"

#include <cmath>

#include "kernels/cpu/simd.h"
#include "kernels/host/host_element.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pointwise.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Sum over i of (x[i] - shift)^power, power 1 or 2, in a fixed lane order.
template <int kPower>
float SumOfPowers(const float* HWY_RESTRICT x, int64_t n, float shift) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const FloatVec shifts = hn::Set(d, shift);
  FloatVec sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const FloatVec value = hn::Sub(hn::LoadU(d, x + i), shifts);
    sum = kPower == 1 ? hn::Add(sum, value) : hn::MulAdd(value, value, sum);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < n; ++i) {
    const float value = x[i] - shift;
    total += kPower == 1 ? value : value * value;
  }
  return total;
}

void NormRow(const PackedNorm& weights, const float* x, int64_t n, float* out) {
  const auto count = static_cast<float>(n);
  const float mean =
      weights.kind == NormKind::kLayerNorm ? SumOfPowers<1>(x, n, 0.0F) / count : 0.0F;
  const float variance = SumOfPowers<2>(x, n, mean) / count;
  const float scale = 1.0F / std::sqrt(variance + weights.eps);
  const float* weight = weights.weight.get();
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i];
  if (weights.bias == nullptr) return;
  for (int64_t i = 0; i < n; ++i) out[i] += weights.bias[i];
}

/// 1 / (1 + exp(-x)). Highway's Exp is undefined where the result overflows, hence the bound.
HWY_INLINE FloatVec Sigmoid(FloatVec x) {
  const FloatTag d;
  const FloatVec one = hn::Set(d, 1.0F);
  const FloatVec exponent = hn::Min(hn::Neg(x), hn::Set(d, 88.0F));
  return hn::Div(one, hn::Add(one, hn::Exp(d, exponent)));
}

/// silu(gate) * up.
HWY_INLINE FloatVec Swiglu(FloatVec gate, FloatVec up) {
  return hn::Mul(hn::Mul(gate, Sigmoid(gate)), up);
}

/// x / 2 * (1 + tanh(u)) = x * sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
HWY_INLINE FloatVec GeluTanh(FloatVec x) {
  const FloatTag d;
  const FloatVec cubic = hn::Mul(hn::Set(d, 0.044715F), hn::Mul(x, hn::Mul(x, x)));
  const FloatVec u2 = hn::Mul(hn::Set(d, 1.5957691216057308F), hn::Add(x, cubic));
  return hn::Mul(x, Sigmoid(u2));
}

float Gelu(float x) { return 0.5F * x * (1.0F + std::erf(x * 0.70710678118654752F)); }

/// Applies `op` to whole vectors, the last one padded with zeros.
template <typename Op>
HWY_INLINE void Map(const float* a, const float* b, int64_t n, float* out, const Op& op) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(op(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN float tail_a[16] = {};
  HWY_ALIGN float tail_b[16] = {};
  for (int64_t j = i; j < n; ++j) {
    tail_a[j - i] = a[j];
    tail_b[j - i] = b[j];
  }
  hn::Store(op(hn::Load(d, tail_a), hn::Load(d, tail_b)), d, tail_a);
  for (int64_t j = i; j < n; ++j) out[j] = tail_a[j - i];
}

void ActivateRow(MlpKind kind, const float* in, int64_t n, float* out) {
  switch (kind) {
    case MlpKind::kGelu:
      for (int64_t i = 0; i < n; ++i) out[i] = Gelu(in[i]);
      return;
    case MlpKind::kGeluTanh:
      return Map(in, in, n, out, [](FloatVec x, FloatVec) HWY_ATTR { return GeluTanh(x); });
    case MlpKind::kSwiglu:
      return Map(in, in + n, n, out,
                 [](FloatVec gate, FloatVec up) HWY_ATTR { return Swiglu(gate, up); });
  }
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(NormRow);
HWY_EXPORT(ActivateRow);

AlignedArray<float> CopyVector(const HostMatrix& vector) {
  if (vector.data == nullptr) return nullptr;
  AlignedArray<float> copy = AllocateAligned<float>(vector.cols);
  for (int64_t i = 0; i < vector.cols; ++i) copy[i] = ElementAsFloat(vector, i);
  return copy;
}

}  // namespace

PackedNorm::PackedNorm(const HostNorm& norm)
    : kind(norm.kind),
      eps(norm.eps),
      weight(CopyVector(norm.weight)),
      bias(CopyVector(norm.bias)) {}

void Norm(ThreadPool& pool, Matrix x, const PackedNorm& weights, Matrix out) {
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    HWY_DYNAMIC_DISPATCH(NormRow)(weights, x.Row(row), x.cols, out.Row(row));
  });
}

void NormHeads(ThreadPool& pool, const PackedNorm& weights, HeadColumns heads, Matrix x) {
  if (weights.weight == nullptr) return;
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    float* head = x.Row(row) + heads.first * heads.dim;
    for (int64_t i = 0; i < heads.count; ++i, head += heads.dim) {
      HWY_DYNAMIC_DISPATCH(NormRow)(weights, head, heads.dim, head);
    }
  });
}

void Activate(ThreadPool& pool, MlpKind kind, Matrix in, Matrix out) {
  pool.ParallelFor(in.rows, [&](int64_t row, int) {
    HWY_DYNAMIC_DISPATCH(ActivateRow)(kind, in.Row(row), out.cols, out.Row(row));
  });
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
