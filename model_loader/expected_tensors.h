// The tensors that a ModelConfig asks for, with their shapes.
// Source: docs/model.md, "Around the attention".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model_loader/model_config.h"

namespace fmaserver::model {

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
  bool required = true;
  /// The last dimension may also be smaller, down to 1 (columns of a level bias).
  bool last_is_maximum = false;
  /// It may be integers in blocks: the weight of a product, or an embedding of tokens.
  bool may_be_in_blocks = false;

  bool Fits(const std::vector<int64_t>& found) const;
  /// The allowed shapes as a message shows them: "[4, 8]", "[4, 1..8]".
  std::string AllowedShape() const;
};

/// Every tensor of the model, in the order in which a forward pass reads them.
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

/// Why a model of `config` has no tensor `name`: which key of the config rules it out, or that no
/// model has such a tensor.
std::string WhyUnexpected(const ModelConfig& config, std::string_view name);

}  // namespace fmaserver::model
