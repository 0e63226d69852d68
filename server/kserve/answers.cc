#include "server/kserve/answers.h"

#include <utility>
#include <variant>

#include "server/kserve/tensors.h"

namespace fmaserver::kserve {
namespace {

const char* NameOf(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kEos:
    case engine::FinishReason::kStopSequence:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    case engine::FinishReason::kTimeLimit:
      return "time_limit";
  }
  return "";
}

}  // namespace

std::optional<inference::ModelInferResponse> Answers::After(const service::GenerateEvent& event) {
  if (const auto* delta = std::get_if<engine::Delta>(&event)) {
    text_ += delta->text;
    if (!form.pieces || text_.empty()) return std::nullopt;
    return Make("");
  }
  const auto* finished = std::get_if<service::GenerationFinished>(&event);
  if (finished == nullptr) return std::nullopt;
  text_ += finished->end.text;
  return Make(NameOf(finished->end.reason));
}

inference::ModelInferResponse Answers::Make(const std::string& finish_reason) {
  inference::ModelInferResponse response;
  response.set_model_name(form.model);
  response.set_model_version(kModelVersion);
  response.set_id(form.id);
  const std::string is_last = "triton_final_response";
  (*response.mutable_parameters())[is_last].set_bool_param(!finish_reason.empty());
  const std::string text = std::exchange(text_, {});
  if (form.text) AddText(kTextOutput, text, form.raw, response);
  if (form.finish_reason) AddText(kFinishReason, finish_reason, form.raw, response);
  return response;
}

}  // namespace fmaserver::kserve
