#include "kernels/cuda/fusion.h"

#include <cstddef>
#include <span>
#include <variant>

namespace fmaserver::kernels::cuda {
namespace {

bool Overlap(const Matrix& a, const Matrix& b) {
  return a.data < b.Row(b.rows) && b.data < a.Row(a.rows);
}

/// What an operation reads and writes; an empty matrix means nothing.
struct Uses {
  Matrix input;
  Matrix also_input;
  Matrix output;
};

Uses UsesOf(const EmbedOperation& one) { return {one.accumulate ? one.x : Matrix{}, {}, one.x}; }
Uses UsesOf(const NormOperation& one) { return {one.x, {}, one.out}; }
Uses UsesOf(const LinearOperation& one) {
  return {one.x, one.accumulate ? one.y : Matrix{}, one.y};
}
Uses UsesOf(const AttendOperation& one) { return {one.qkv, {}, one.out}; }
// Only some of its rows may be written, so its output counts as none.
Uses UsesOf(const EncoderOperation& one) {
  const EncoderParameters& parameters = one.parameters;
  return {{parameters.qkv, parameters.rows, parameters.attention.spec.QkvColumns()}, {}, {}};
}
Uses UsesOf(const CopyOperation& one) { return {one.from, {}, {}}; }
Uses UsesOf(const ActivateOperation& one) { return {one.in, {}, one.out}; }
Uses UsesOf(const GatherOperation& one) { return {one.x, {}, one.out}; }
Uses UsesOf(const SampleOperation& one) { return {one.logits, {}, {}}; }

/// Whether `operations` write all of `matrix` before any of them reads any of it.
bool IsOverwritten(const Matrix& matrix, std::span<const Operation> operations) {
  for (const Operation& operation : operations) {
    const Uses uses = std::visit([](const auto& one) { return UsesOf(one); }, operation);
    if (Overlap(uses.input, matrix) || Overlap(uses.also_input, matrix)) return false;
    if (uses.output.data <= matrix.data &&
        uses.output.Row(uses.output.rows) >= matrix.Row(matrix.rows)) {
      return true;
    }
  }
  return false;
}

bool HasIntegers(const LinearOperation& linear) { return InBlocks(linear.weights.format); }

/// Puts `norm` into `linear`; false when the two do not fit together.
bool FuseNorm(const NormOperation& norm, LinearOperation& linear) {
  const bool fits = norm.weights.kind == NormKind::kRmsNorm && norm.weights.bias == nullptr &&
                    linear.x == norm.out && (linear.x.rows <= kFewRows || HasIntegers(linear)) &&
                    !Overlap(linear.y, norm.x);
  if (!fits) return false;
  linear.x = norm.x;
  linear.norm = norm.weights.weight;
  linear.norm_eps = norm.weights.eps;
  return true;
}

/// The activation of what `linear` gives.
bool FuseActivation(LinearOperation& linear, const ActivateOperation& activate) {
  const bool fits = !linear.accumulate && linear.x.rows <= kFewRows && !HasIntegers(linear) &&
                    activate.in == linear.y && !Overlap(linear.x, activate.out);
  if (!fits) return false;
  linear.y = activate.out;
  linear.activates = true;
  linear.activation = activate.kind;
  return true;
}

/// The activation of what `linear`, whose inputs are rounded anyway, takes.
bool FuseActivation(const ActivateOperation& activate, LinearOperation& linear) {
  const bool fits =
      HasIntegers(linear) && linear.x == activate.out && !Overlap(linear.y, activate.in);
  if (!fits) return false;
  linear.x = activate.in;
  linear.activates_x = true;
  linear.activation = activate.kind;
  return true;
}

}  // namespace

std::vector<Operation> Fused(std::vector<Operation> operations) {
  std::vector<Operation> fused;
  fused.reserve(operations.size());
  for (size_t i = 0; i < operations.size(); ++i) {
    const std::span rest = std::span(operations).subspan(i + 1);
    Operation& operation = operations[i];
    if (auto* linear = rest.empty() ? nullptr : std::get_if<LinearOperation>(&rest[0])) {
      const std::span after = rest.subspan(1);
      const auto* norm = std::get_if<NormOperation>(&operation);
      if (norm != nullptr && IsOverwritten(norm->out, after) && FuseNorm(*norm, *linear)) continue;
      const auto* activate = std::get_if<ActivateOperation>(&operation);
      if (activate != nullptr && IsOverwritten(activate->out, after) &&
          FuseActivation(*activate, *linear)) {
        continue;
      }
    }
    if (auto* linear = std::get_if<LinearOperation>(&operation); linear != nullptr) {
      const auto* activate = rest.empty() ? nullptr : std::get_if<ActivateOperation>(&rest[0]);
      if (activate != nullptr && IsOverwritten(linear->y, rest.subspan(1)) &&
          FuseActivation(*linear, *activate)) {
        ++i;
      }
    }
    fused.push_back(operation);
  }
  return fused;
}

}  // namespace fmaserver::kernels::cuda
