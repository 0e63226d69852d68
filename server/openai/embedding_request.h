// What a client of /v1/embeddings asks for, read from its JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/models/served_model.h"
#include "server/openai/value.h"
#include "server/service/encode_request.h"

namespace fmaserver::openai {

struct EmbeddingJob {
  std::string model = {};  ///< as the client calls it, or the model's own name
  service::Vocabulary vocabulary = {};
  int64_t hidden_size = 0;

  service::EncodeRequest request = {};
  size_t bytes = 0;  ///< that its texts take
  bool add_special_tokens = true;
  bool base64 = false;                    ///< numbers come as their bytes
  std::vector<std::string> ignored = {};  ///< names of fields without effect
};

struct EmbeddingField {
  std::string_view name;
  absl::Status (*read)(const Value&, EmbeddingJob&);
};

/// All that are known.
std::span<const EmbeddingField> EmbeddingFields();

/// INVALID_ARGUMENT names the field.
absl::StatusOr<EmbeddingJob> ReadEmbeddingJob(const nlohmann::json& body,
                                              const models::ServedModel& model);

}  // namespace fmaserver::openai
