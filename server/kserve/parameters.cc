#include "server/kserve/parameters.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/refusal.h"

namespace fmaserver::kserve {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// The others are said in tensors and in parameters of the protocol itself, or change the form of
/// the answer.
constexpr const char* kGenerateFields[] = {
    "max_tokens",        "min_tokens",   "ignore_eos",         "stop",
    "stop_token_ids",    "include_stop", "time_limit_seconds", "cache_salt",
    "skip_prefix_cache", "no_archive"};

std::string AllowedNames() {
  std::string names = absl::StrJoin(kGenerateFields, ", ");
  const auto& sampling = *v1::SamplingParams::descriptor();
  for (int i = 0; i < sampling.field_count(); ++i) {
    names += Concat(", ", sampling.field(i)->name());
  }
  return names;
}

std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) return "an object of token ids and numbers";
  const std::string many = field.is_repeated() ? " or a list of these" : "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false" + many;
    case FieldDescriptor::CPPTYPE_STRING:
      return "text" + many;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number" + many;
    default:
      return Concat("a whole number from 0 that fits into ",
                    field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ? 64 : 32, " bits", many);
  }
}

absl::Status SetField(const FieldDescriptor& field, const nlohmann::json& value, Message& message) {
  const bool lone = field.is_repeated() && !field.is_map() && !value.is_array();
  const nlohmann::json object = {{field.name(), lone ? nlohmann::json::array({value}) : value}};
  const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::unique_ptr<Message> read(message.New());
  // Protobuf takes null for an absent field.
  if (value.is_null() || !google::protobuf::util::JsonStringToMessage(text, read.get()).ok()) {
    return Refusal(field.name(), Words{Excerpt(value)}, TypeOf(field));
  }
  message.GetReflection()->ClearField(&message, &field);
  message.MergeFrom(*read);
  return absl::OkStatus();
}

}  // namespace

absl::Status SetParameter(const std::string& name, const nlohmann::json& value,
                          v1::GenerateRequest& request) {
  const FieldDescriptor* sampling = v1::SamplingParams::descriptor()->FindFieldByName(name);
  if (sampling != nullptr) return SetField(*sampling, value, *request.mutable_sampling());
  if (std::ranges::find(kGenerateFields, std::string_view(name)) != std::end(kGenerateFields)) {
    return SetField(*v1::GenerateRequest::descriptor()->FindFieldByName(name), value, request);
  }
  return Refusal("parameter", name, AllowedNames());
}

absl::Status SetParameters(const std::string& json, v1::GenerateRequest& request) {
  const auto object = ParseJsonObject(json, "sampling_parameters");
  if (!object.ok()) return object.status();
  for (const auto& [name, value] : object->items()) {
    if (absl::Status status = SetParameter(name, value, request); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::kserve
