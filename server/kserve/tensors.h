// Tensors of one element in messages.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"

namespace fmaserver::kserve {

inline constexpr std::string_view kBytes = "BYTES";
inline constexpr std::string_view kBool = "BOOL";

using InputTensor = inference::ModelInferRequest::InferInputTensor;

/// The one element of `tensor`, of this type. `raw` is its entry of raw_input_contents, or null
/// when the message has none. INVALID_ARGUMENT for another type, shape or size.
absl::StatusOr<std::string> ReadText(const InputTensor& tensor, const std::string* raw);
absl::StatusOr<bool> ReadBool(const InputTensor& tensor, const std::string* raw);

/// Adds an output of BYTES with one element, in raw bytes or not.
void AddText(const std::string& name, const std::string& text, bool raw,
             inference::ModelInferResponse& response);

}  // namespace fmaserver::kserve
