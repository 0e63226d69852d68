// A checkpoint folder: config.json, weights and, if there is one, the tokenizer, all validated.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model_loader/block_tensors.h"
#include "model_loader/chat_template/chat_template.h"
#include "model_loader/model_config.h"
#include "model_loader/safetensors.h"
#include "model_loader/sampling_defaults.h"
#include "model_loader/tensor.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {

/// Reads `folder`/config.json, model.safetensors or the shards that model.safetensors.index.json
/// lists when there is no model.safetensors, and tokenizer.json, else tokenizer.model (not read
/// when the config says "tokenizer": "bytes"), and chat_template.jinja with the special tokens of
/// tokenizer_config.json, and generation_config.json. Every tensor that the config
/// asks for is there with its shape and none besides: after Open() succeeds, Tensor() and
/// TensorIfPresent() cannot disappoint.
class Checkpoint {
 public:
  /// NOT_FOUND for a missing file; INVALID_ARGUMENT naming file, tensor, found and allowed.
  static absl::StatusOr<Checkpoint> Open(const std::filesystem::path& folder);

  const ModelConfig& config() const { return config_; }

  /// The folder's name: what the API calls the model.
  const std::string& name() const { return name_; }

  /// A tensor that the config requires. `name` must be one of them (see expected_tensors.h).
  const TensorView& Tensor(std::string_view name) const;

  /// An optional tensor (biases of norms), or null.
  const TensorView* TensorIfPresent(std::string_view name) const;

  /// Null when the checkpoint has no tokenizer; it is then served by token ids.
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }

  /// Null when the checkpoint has none; there are no chats with it then.
  const std::shared_ptr<const chat::ChatTemplate>& chat_template() const { return chat_template_; }

  /// Of generation_config.json; without one, what the API says.
  const SamplingDefaults& sampling_defaults() const { return sampling_defaults_; }

  /// The numbers of all tensors, and their bytes as stored.
  int64_t NumParameters() const;
  int64_t WeightBytes() const;

  /// Tells models apart: SHA-256 of config.json and all bytes of the weight files, kSha256Bytes
  /// bytes. The tokenizer is left out, so that session files of earlier servers, which contain this
  /// digest, stay readable. Reads every weight, which takes a second for each gigabyte or two; once
  /// `stop` is requested it ends early, and the result means nothing.
  std::string Fingerprint(const std::stop_token& stop = {}) const;

 private:
  Checkpoint() = default;

  absl::Status ReadConfig(const std::filesystem::path& folder);
  absl::Status MapWeights(const std::filesystem::path& folder);
  absl::Status ReadTokenizer(const std::filesystem::path& folder);
  absl::Status ReadChatTemplate(const std::filesystem::path& folder);
  absl::Status ReadSamplingDefaults(const std::filesystem::path& folder);

  std::string name_;
  ModelConfig config_;
  std::string config_digest_;
  std::vector<Safetensors> files_;
  TensorMap tensors_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const chat::ChatTemplate> chat_template_;
  SamplingDefaults sampling_defaults_;
};

}  // namespace fmaserver::model
