#include "kernels/host/linear.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"

namespace fmaserver::kernels {
namespace {

absl::Status Check(const HostLinear& part, int64_t in) {
  const HostMatrix& weight = part.weight;
  if (weight.cols != in) {
    return absl::InvalidArgumentError(absl::StrCat("a weight's inputs are ", weight.cols,
                                                   "; allowed: ", in,
                                                   ", as of the first of the stack"));
  }
  if (weight.scales != nullptr || weight.minima != nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("a weight of format ", std::string(NameOf(weight.format)),
                     " has scales or minima of blocks; allowed: none in this format"));
  }
  if (part.bias.data != nullptr && part.bias.rows * part.bias.cols != weight.rows) {
    return absl::InvalidArgumentError(absl::StrCat("a bias has ", part.bias.rows * part.bias.cols,
                                                   " numbers; allowed: ", weight.rows,
                                                   ", one for each output"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StackedShape> ShapeOf(std::span<const HostLinear> stacked) {
  const HostMatrix& first = stacked.front().weight;
  StackedShape shape{.out = 0, .in = first.cols, .format = first.format};
  for (const HostLinear& part : stacked) {
    if (absl::Status status = Check(part, shape.in); !status.ok()) return status;
    shape.out += part.weight.rows;
    if (part.weight.format != shape.format) shape.format = WeightFormat::kF32;
  }
  return shape;
}

std::vector<float> StackedBias(std::span<const HostLinear> stacked) {
  std::vector<float> biases;
  bool any = false;
  for (const HostLinear& part : stacked) {
    any = any || part.bias.data != nullptr;
    for (int64_t i = 0; i < part.weight.rows; ++i) {
      biases.push_back(part.bias.data == nullptr ? 0.0F : ElementAsFloat(part.bias, i));
    }
  }
  if (!any) biases.clear();
  return biases;
}

}  // namespace fmaserver::kernels
