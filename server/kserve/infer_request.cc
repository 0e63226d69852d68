#include "server/kserve/infer_request.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/refusal.h"
#include "fma/v1/generation.pb.h"
#include "nlohmann/json.hpp"
#include "server/kserve/describe.h"
#include "server/kserve/parameters.h"
#include "server/kserve/tensors.h"
#include "server/rpc/from_wire.h"

namespace fmaserver::kserve {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;

constexpr double kMicroseconds = 1e-6;
/// Triton's priorities are from 1, the first; ours are around 0, and lower is first.
constexpr int64_t kFirstPriority = 1;
constexpr int64_t kLastPriority = 1 + engine::kMaxPriority - engine::kMinPriority;

/// What a message says, on its way to the form that the native API has.
struct Reading {
  v1::GenerateRequest native = {};
  service::SessionEnds ends = {};
  bool has_text = false;
};

absl::Status RefuseParameters(
    std::string_view place, const google::protobuf::Map<std::string, InferParameter>& parameters) {
  if (parameters.empty()) return absl::OkStatus();
  return Refusal(At(place, "parameter"), parameters.begin()->first, "none");
}

absl::Status SetStreaming(bool wanted, AnswerForm& form) {
  if (wanted && !form.pieces) {
    return Refusal(kStream, wanted, "false in ModelInfer; ModelStreamInfer streams");
  }
  form.pieces = wanted;
  return absl::OkStatus();
}

absl::Status ReadInput(const InputTensor& tensor, const std::string* raw, Reading& reading,
                       AnswerForm& form) {
  const std::string& name = tensor.name();
  constexpr const char* kInputNames[] = {kTextInput, kStream, kStreaming, kSamplingParameters};
  if (std::ranges::find(kInputNames, std::string_view(name)) == std::end(kInputNames)) {
    return Refusal("input", name, absl::StrJoin(kInputNames, ", "));
  }
  absl::Status status = RefuseParameters(name, tensor.parameters());
  if (!status.ok()) return status;
  if (name == kTextInput || name == kSamplingParameters) {
    auto text = ReadText(tensor, raw);
    if (!text.ok()) return text.status();
    if (name == kSamplingParameters) return SetParameters(*text, reading.native);
    reading.has_text = true;
    reading.native.set_text(*std::move(text));
    return absl::OkStatus();
  }
  const auto wanted = ReadBool(tensor, raw);
  return wanted.ok() ? SetStreaming(*wanted, form) : wanted.status();
}

absl::Status ReadInputs(const ModelInferRequest& message, Reading& reading, AnswerForm& form) {
  form.raw = message.raw_input_contents_size() > 0;
  if (form.raw && message.raw_input_contents_size() != message.inputs_size()) {
    return Refusal("number of raw_input_contents", message.raw_input_contents_size(),
                   Concat(message.inputs_size(), ", as many as inputs, or 0"));
  }
  for (int i = 0; i < message.inputs_size(); ++i) {
    const std::string* raw = form.raw ? &message.raw_input_contents(i) : nullptr;
    const absl::Status status = ReadInput(message.inputs(i), raw, reading, form);
    if (!status.ok()) return status;
  }
  if (reading.has_text) return absl::OkStatus();
  return Refusal(At("input", kTextInput), Words{"missing"}, "one of BYTES");
}

absl::Status ReadOutputs(const ModelInferRequest& message, AnswerForm& form) {
  if (message.outputs().empty()) return absl::OkStatus();
  form.text = form.finish_reason = false;
  for (const auto& output : message.outputs()) {
    const bool is_text = output.name() == kTextOutput;
    if (!is_text && output.name() != kFinishReason) {
      return Refusal("output", output.name(), Concat(kTextOutput, ", ", kFinishReason));
    }
    absl::Status status = RefuseParameters(output.name(), output.parameters());
    if (!status.ok()) return status;
    (is_text ? form.text : form.finish_reason) = true;
  }
  return absl::OkStatus();
}

/// Null for none.
nlohmann::json AsJson(const InferParameter& value) {
  switch (value.parameter_choice_case()) {
    case InferParameter::kBoolParam:
      return value.bool_param();
    case InferParameter::kInt64Param:
      return value.int64_param();
    case InferParameter::kStringParam:
      return value.string_param();
    case InferParameter::kUint64Param:
      return value.uint64_param();
    case InferParameter::kDoubleParam:
      // JSON has no other numbers.
      if (std::isfinite(value.double_param())) return value.double_param();
      break;
    case InferParameter::PARAMETER_CHOICE_NOT_SET:
      break;
  }
  return nullptr;
}

absl::Status ReadPriority(const nlohmann::json& value, v1::GenerateRequest& native) {
  const int64_t level = value.is_number_integer() ? value.get<int64_t>() : -1;
  if (level == 0) return absl::OkStatus();
  if (level < kFirstPriority || level > kLastPriority) {
    return Refusal("priority", Words{Excerpt(value)},
                   Concat(FromTo(kFirstPriority, kLastPriority), "; 0: none"));
  }
  native.set_priority(static_cast<int32_t>(level - kFirstPriority + engine::kMinPriority));
  return absl::OkStatus();
}

absl::Status ReadTimeout(const nlohmann::json& value, v1::GenerateRequest& native) {
  if (!value.is_number()) return Refusal("timeout", Words{Excerpt(value)}, "microseconds");
  native.set_time_limit_seconds(value.get<double>() * kMicroseconds);
  return absl::OkStatus();
}

absl::Status ReadFlag(const std::string& name, const nlohmann::json& value, bool& flag) {
  if (!value.is_boolean()) return Refusal(name, Words{Excerpt(value)}, "true or false");
  flag = value.get<bool>();
  return absl::OkStatus();
}

absl::Status ReadSequence(const nlohmann::json& value, v1::GenerateRequest& native) {
  if (value.is_string()) {
    native.set_session_id(value.get<std::string>());
  } else if (value.is_number_integer()) {
    if (value != 0) native.set_session_id(value.dump());
  } else {
    return Refusal("sequence_id", Words{Excerpt(value)}, "text or a whole number");
  }
  return absl::OkStatus();
}

absl::Status ReadParameter(const std::string& name, const InferParameter& parameter,
                           Reading& reading) {
  const nlohmann::json value = AsJson(parameter);
  if (name == "sequence_id") return ReadSequence(value, reading.native);
  if (name == "sequence_start") return ReadFlag(name, value, reading.ends.first);
  if (name == "sequence_end") return ReadFlag(name, value, reading.ends.last);
  if (name == "priority") return ReadPriority(value, reading.native);
  if (name == "timeout") return ReadTimeout(value, reading.native);
  // Whoever asks for it waits for triton_final_response, which every last answer has.
  bool ignored = false;
  if (name == "triton_enable_empty_final_response") return ReadFlag(name, value, ignored);
  return SetParameter(name, value, reading.native);
}

absl::Status ReadParameters(const ModelInferRequest& message, Reading& reading) {
  for (const auto& [name, value] : message.parameters()) {
    if (absl::Status status = ReadParameter(name, value, reading); !status.ok()) return status;
  }
  const bool in_sequence = !reading.native.session_id().empty();
  if (!in_sequence && (reading.ends.first || reading.ends.last)) {
    return Refusal("sequence_id", Words{"missing"}, "one, with sequence_start and sequence_end");
  }
  // A sequence goes on without a prompt from what it holds.
  if (in_sequence && reading.native.text().empty()) reading.native.clear_prompt();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<service::GenerateRequest> FromWire(ModelInferRequest message,
                                                  const service::Vocabulary& vocabulary,
                                                  AnswerForm& form) {
  form.id = message.id();
  Reading reading;
  absl::Status status = CheckVersion(message.model_version());
  if (status.ok()) status = ReadInputs(message, reading, form);
  if (status.ok()) status = ReadOutputs(message, form);
  if (status.ok()) status = ReadParameters(message, reading);
  if (!status.ok()) return status;
  auto request = rpc::FromWire(std::move(reading.native), vocabulary);
  if (!request.ok()) return request;
  if (!form.pieces && request->options.max_tokens > kMaxWholeTokens) {
    return Refusal("max_tokens", request->options.max_tokens,
                   Concat("up to ", kMaxWholeTokens, " in one answer; ModelStreamInfer streams"));
  }
  request->session_ends = reading.ends;
  return request;
}

}  // namespace fmaserver::kserve
