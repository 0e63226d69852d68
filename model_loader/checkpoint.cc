#include "model_loader/checkpoint.h"

#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/shard_index.h"

namespace fmaserver::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kWeightsFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kTokenizerFile = "tokenizer.model";

std::string DigestOf(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Digest();
}

bool Exists(const fs::path& file) {
  std::error_code error;
  return fs::exists(file, error);
}

/// The last part of the path as the file system knows it, so that "models/tiny/" and "." work.
std::string FolderName(const fs::path& folder) {
  std::error_code error;
  const fs::path canonical = fs::canonical(folder, error);
  return (error ? folder : canonical).filename().string();
}

absl::StatusOr<ShardIndex> ReadShardIndex(const fs::path& file) {
  const absl::StatusOr<MappedFile> mapped = MappedFile::Open(file);
  if (!mapped.ok()) return mapped.status();
  const std::span<const std::byte> bytes = mapped->bytes();
  return ParseShardIndex({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                         file.string());
}

/// A shard holds exactly the tensors that the index places in it. As the index gives each tensor
/// one shard, no tensor can then be in two.
absl::Status CheckShard(const Safetensors& shard, const absl::flat_hash_set<std::string>& indexed,
                        const fs::path& file) {
  absl::flat_hash_set<std::string_view> found;
  for (const auto& [name, view] : shard.tensors()) {
    if (!indexed.contains(name)) {
      return absl::InvalidArgumentError(Concat(file.string(), ": found tensor ", Quoted(name),
                                               ", allowed: those that ", kIndexFile,
                                               " places in this file"));
    }
    found.insert(name);
  }
  for (const std::string& name : indexed) {
    if (found.contains(name)) continue;
    return absl::InvalidArgumentError(Concat(file.string(), ": tensor ", Quoted(name),
                                             " is missing; ", kIndexFile,
                                             " places it in this file"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Safetensors>> OpenShards(const fs::path& folder) {
  const absl::StatusOr<ShardIndex> index = ReadShardIndex(folder / kIndexFile);
  if (!index.ok()) return index.status();
  std::vector<Safetensors> shards;
  for (const auto& [name, tensors] : *index) {
    absl::StatusOr<Safetensors> shard = Safetensors::Open(folder / name);
    if (!shard.ok()) return shard.status();
    const absl::Status status = CheckShard(*shard, tensors, folder / name);
    if (!status.ok()) return status;
    shards.push_back(*std::move(shard));
  }
  return shards;
}

absl::StatusOr<std::vector<Safetensors>> OpenWeights(const fs::path& folder) {
  if (!Exists(folder / kWeightsFile)) {
    if (Exists(folder / kIndexFile)) return OpenShards(folder);
    return absl::NotFoundError(
        Concat(folder.string(), ": found neither ", kWeightsFile, " nor ", kIndexFile));
  }
  absl::StatusOr<Safetensors> file = Safetensors::Open(folder / kWeightsFile);
  if (!file.ok()) return file.status();
  std::vector<Safetensors> files;
  files.push_back(*std::move(file));
  return files;
}

using TensorMap = absl::flat_hash_map<std::string, TensorView>;

absl::Status CheckTensors(const ModelConfig& config, const TensorMap& tensors,
                          const fs::path& folder) {
  absl::flat_hash_set<std::string> expected_names;
  for (ExpectedTensor& expected : ExpectedTensors(config)) {
    const auto tensor = tensors.find(expected.name);
    if (tensor == tensors.end()) {
      if (!expected.required) continue;
      return absl::InvalidArgumentError(Concat(folder.string(), ": tensor \"", expected.name,
                                               "\" is missing, allowed: shape ",
                                               expected.AllowedShape()));
    }
    if (!expected.Fits(tensor->second.shape)) {
      return absl::InvalidArgumentError(Concat(
          folder.string(), ": tensor \"", expected.name, "\": shape is [",
          absl::StrJoin(tensor->second.shape, ", "), "], allowed: ", expected.AllowedShape()));
    }
    expected_names.insert(std::move(expected.name));
  }
  for (const auto& [name, view] : tensors) {
    if (expected_names.contains(name)) continue;
    return absl::InvalidArgumentError(Concat(folder.string(), ": found tensor ", Quoted(name),
                                             ", allowed: only what config.json asks for; ",
                                             WhyUnexpected(config, name)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> OpenTokenizer(const ModelConfig& config,
                                                               const fs::path& folder) {
  if (config.byte_tokenizer) return MakeByteTokenizer(config.vocab_size);
  if (!Exists(folder / kTokenizerFile)) return nullptr;
  return LoadSentencePiece(folder / kTokenizerFile, config.vocab_size);
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const fs::path& folder) {
  absl::StatusOr<ModelConfig> config = ReadModelConfig(folder / kConfigFile);
  if (!config.ok()) return config.status();
  const absl::StatusOr<MappedFile> config_file = MappedFile::Open(folder / kConfigFile);
  if (!config_file.ok()) return config_file.status();
  absl::StatusOr<std::vector<Safetensors>> files = OpenWeights(folder);
  if (!files.ok()) return files.status();

  Checkpoint checkpoint;
  checkpoint.name_ = FolderName(folder);
  checkpoint.config_ = *std::move(config);
  checkpoint.config_digest_ = DigestOf(config_file->bytes());
  checkpoint.files_ = *std::move(files);
  for (const Safetensors& file : checkpoint.files_) {
    checkpoint.tensors_.insert(file.tensors().begin(), file.tensors().end());
  }
  const absl::Status status = CheckTensors(checkpoint.config_, checkpoint.tensors_, folder);
  if (!status.ok()) return status;

  absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer =
      OpenTokenizer(checkpoint.config_, folder);
  if (!tokenizer.ok()) return tokenizer.status();
  checkpoint.tokenizer_ = *std::move(tokenizer);
  return checkpoint;
}

const TensorView& Checkpoint::Tensor(std::string_view name) const {
  return tensors_.at(ToAbsl(name));
}

const TensorView* Checkpoint::TensorIfPresent(std::string_view name) const {
  const auto tensor = tensors_.find(ToAbsl(name));
  return tensor == tensors_.end() ? nullptr : &tensor->second;
}

int64_t Checkpoint::NumParameters() const {
  int64_t elements = 0;
  for (const auto& [name, view] : tensors_) elements += view.NumElements();
  return elements;
}

int64_t Checkpoint::WeightBytes() const {
  int64_t bytes = 0;
  for (const auto& [name, view] : tensors_)
    bytes += view.NumElements() * kernels::SizeOf(view.dtype);
  return bytes;
}

std::string Checkpoint::Fingerprint() const {
  // Digests of digests, so that bytes cannot move from one file into the next unnoticed.
  Sha256 hash;
  hash.Update(config_digest_);
  for (const Safetensors& file : files_) hash.Update(DigestOf(file.bytes()));
  return hash.Digest();
}

}  // namespace fmaserver::model
