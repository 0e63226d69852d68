#include "kernels/host/linear.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"

namespace fmaserver::kernels {
namespace {

absl::Status CheckBlocks(const HostMatrix& weight) {
  const std::string format(NameOf(weight.format));
  if (!InBlocks(weight.format)) {
    if (weight.scales == nullptr && weight.minima == nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("a weight of format ", format,
                     " has scales or minima of blocks; allowed: none in this format"));
  }
  if (weight.cols % kWeightBlock != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a weight of format ", format, " has ",
                                                   weight.cols, " inputs; allowed: a multiple of ",
                                                   kWeightBlock));
  }
  const auto fits = [&weight](const HostMatrix* of_blocks) {
    return of_blocks->format == WeightFormat::kF16 && of_blocks->rows == weight.rows &&
           of_blocks->cols == weight.cols / kWeightBlock;
  };
  const bool may_have_minima = weight.format == WeightFormat::kInt4;
  if (weight.scales != nullptr && fits(weight.scales) &&
      (weight.minima == nullptr || (may_have_minima && fits(weight.minima)))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a weight of format ", format,
      " has no scales of its blocks, or minima that do not fit; allowed: scales in F16, and minima "
      "in F16 with U8"));
}

absl::Status Check(const HostLinear& part, int64_t in) {
  const HostMatrix& weight = part.weight;
  if (weight.cols != in) {
    return absl::InvalidArgumentError(absl::StrCat("a weight's inputs are ", weight.cols,
                                                   "; allowed: ", in,
                                                   ", as of the first of the stack"));
  }
  if (absl::Status status = CheckBlocks(weight); !status.ok()) return status;
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

std::vector<StackedRow> RowsOf(std::span<const HostLinear> stacked) {
  std::vector<StackedRow> rows;
  for (const HostLinear& part : stacked) {
    for (int64_t row = 0; row < part.weight.rows; ++row) rows.push_back({&part.weight, row});
  }
  return rows;
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
