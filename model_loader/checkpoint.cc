#include "model_loader/checkpoint.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/refusal.h"
#include "base/sha256.h"
#include "base/text.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/lfs_pointer.h"
#include "model_loader/sentencepiece/tokenizer.h"
#include "model_loader/shard_index.h"
#include "model_loader/special_texts.h"
#include "model_loader/tensor_names.h"
#include "model_loader/tokenizer_json/tokenizer.h"

namespace fmaserver::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kWeightsFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kJsonTokenizerFile = "tokenizer.json";
constexpr std::string_view kSentencePieceFile = "tokenizer.model";
constexpr std::string_view kChatTemplateFile = "chat_template.jinja";
constexpr std::string_view kSpecialTextsFile = "tokenizer_config.json";

constexpr std::string_view kSamplingDefaultsFile = "generation_config.json";

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxIndexBytes = size_t{256} << 20;
constexpr size_t kMaxTokenizerBytes = size_t{64} << 20;
constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

bool Exists(const fs::path& file) {
  std::error_code error;
  return fs::exists(file, error);
}

/// The last part of the canonical path, so that "models/tiny/" and "." have a name too.
std::string FolderName(const fs::path& folder) {
  std::error_code error;
  const fs::path canonical = fs::canonical(folder, error);
  return (error ? folder : canonical).filename().string();
}

/// A small file of the checkpoint, whole.
absl::StatusOr<std::string> ReadText(const fs::path& file, size_t max_bytes) {
  absl::StatusOr<std::string> text = ReadWholeFile(file, max_bytes);
  if (!text.ok()) return text;
  const absl::Status status = RefuseLfsPointer(*text, file.string());
  if (!status.ok()) return status;
  return text;
}

absl::StatusOr<chat::SpecialTexts> ReadSpecialTexts(const fs::path& file) {
  if (!Exists(file)) return chat::SpecialTexts();
  const absl::StatusOr<std::string> text = ReadText(file, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  return ParseSpecialTexts(*text, file.string());
}

absl::StatusOr<ShardIndex> ReadShardIndex(const fs::path& file) {
  const absl::StatusOr<std::string> text = ReadText(file, kMaxIndexBytes);
  if (!text.ok()) return text.status();
  return ParseShardIndex(*text, file.string());
}

/// A shard must hold exactly the tensors that the index places in it. Since the index places each
/// tensor in one shard, no tensor can be in two.
absl::Status CheckShard(const Safetensors& shard, const absl::flat_hash_set<std::string>& indexed,
                        const fs::path& file) {
  absl::flat_hash_set<std::string_view> found;
  for (const auto& [name, view] : shard.tensors()) {
    if (!indexed.contains(name)) {
      return Refusal(At(file.string(), Concat("tensor ", Quoted(name))), Words{"unexpected"},
                     Concat("those that ", kIndexFile, " places in this file"));
    }
    found.insert(name);
  }
  for (const std::string& name : indexed) {
    if (found.contains(name)) continue;
    return Refusal(At(file.string(), Concat("tensor ", Quoted(name))), Words{"missing"},
                   Concat("what ", kIndexFile, " places in this file"));
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
    return Refusal(At(folder.string(), kWeightsFile), Words{"missing"},
                   Concat("this file, or ", kIndexFile), absl::StatusCode::kNotFound);
  }
  absl::StatusOr<Safetensors> file = Safetensors::Open(folder / kWeightsFile);
  if (!file.ok()) return file.status();
  std::vector<Safetensors> files;
  files.push_back(*std::move(file));
  return files;
}

absl::Status CheckTensors(const ModelConfig& config, const TensorMap& tensors,
                          const fs::path& folder) {
  absl::flat_hash_set<std::string> expected_names;
  for (ExpectedTensor& expected : ExpectedTensors(config)) {
    const auto tensor = tensors.find(expected.name);
    if (tensor == tensors.end()) {
      if (!expected.required) continue;
      return Refusal(At(folder.string(), Concat("tensor \"", expected.name, "\"")),
                     Words{"missing"}, Concat("shape ", expected.AllowedShape()));
    }
    const TensorView& found = tensor->second;
    if (!expected.Fits(NumbersShape(found))) {
      const bool halved = found.dtype == kernels::WeightFormat::kInt4;
      return Refusal(At(folder.string(), Concat("tensor \"", expected.name, "\": shape")),
                     Words{Concat("[", absl::StrJoin(found.shape, ", "), "]")},
                     Concat(expected.AllowedShape(), halved ? " with two numbers in a byte" : ""));
    }
    if (kernels::InBlocks(found.dtype)) {
      auto names = CheckBlocks(expected, found, tensors, folder.string());
      if (!names.ok()) return names.status();
      expected_names.insert(names->begin(), names->end());
    }
    expected_names.insert(std::move(expected.name));
  }
  for (const auto& [name, view] : tensors) {
    if (expected_names.contains(name)) continue;
    return Refusal(At(folder.string(), Concat("tensor ", Quoted(name))), Words{"unexpected"},
                   Concat("what config.json asks for; ", WhyUnexpected(config, name)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const fs::path& folder) {
  Checkpoint checkpoint;
  checkpoint.name_ = FolderName(folder);
  absl::Status status = checkpoint.ReadConfig(folder);
  if (status.ok()) status = checkpoint.MapWeights(folder);
  if (status.ok()) status = checkpoint.ReadTokenizer(folder);
  if (status.ok()) status = checkpoint.ReadChatTemplate(folder);
  if (status.ok()) status = checkpoint.ReadSamplingDefaults(folder);
  if (!status.ok()) return status;
  return checkpoint;
}

absl::Status Checkpoint::ReadConfig(const fs::path& folder) {
  const fs::path file = folder / kConfigFile;
  const absl::StatusOr<std::string> text = ReadText(file, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*text, file.string());
  if (!config.ok()) return config.status();
  config_ = *std::move(config);
  config_digest_ = Sha256Of(*text);
  return absl::OkStatus();
}

absl::Status Checkpoint::MapWeights(const fs::path& folder) {
  absl::StatusOr<std::vector<Safetensors>> files = OpenWeights(folder);
  if (!files.ok()) return files.status();
  files_ = *std::move(files);
  for (const Safetensors& file : files_) {
    tensors_.insert(file.tensors().begin(), file.tensors().end());
  }
  return CheckTensors(config_, tensors_, folder);
}

absl::Status Checkpoint::ReadTokenizer(const fs::path& folder) {
  if (config_.tokenizer == TokenizerKind::kBytes) {
    tokenizer_ = MakeByteTokenizer(config_.vocab_size);
    return absl::OkStatus();
  }
  // Where both are, tokenizer.json knows more: the control tokens of chats.
  const bool is_json = Exists(folder / kJsonTokenizerFile);
  const fs::path file = folder / (is_json ? kJsonTokenizerFile : kSentencePieceFile);
  if (!Exists(file)) return absl::OkStatus();
  const absl::StatusOr<std::string> bytes = ReadText(file, kMaxTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  const auto make = is_json ? MakeJsonTokenizer : MakeSentencePieceTokenizer;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      make(*bytes, file.string(), config_.vocab_size);
  if (!tokenizer.ok()) return tokenizer.status();
  tokenizer_ = *std::move(tokenizer);
  return absl::OkStatus();
}

absl::Status Checkpoint::ReadChatTemplate(const fs::path& folder) {
  const fs::path file = folder / kChatTemplateFile;
  if (!Exists(file)) return absl::OkStatus();
  const absl::StatusOr<std::string> source = ReadText(file, kMaxTemplateBytes);
  if (!source.ok()) return source.status();
  absl::StatusOr<chat::SpecialTexts> specials = ReadSpecialTexts(folder / kSpecialTextsFile);
  if (!specials.ok()) return specials.status();
  auto made = chat::ChatTemplate::Parse(*source, file.string(), *std::move(specials));
  if (!made.ok()) {
    return absl::InvalidArgumentError(
        Concat(std::string(made.status().message()), "; without this file there is all but Chat"));
  }
  chat_template_ = *std::move(made);
  return absl::OkStatus();
}

absl::Status Checkpoint::ReadSamplingDefaults(const fs::path& folder) {
  const fs::path file = folder / kSamplingDefaultsFile;
  if (!Exists(file)) return absl::OkStatus();
  const absl::StatusOr<std::string> text = ReadText(file, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  const auto defaults = ParseSamplingDefaults(*text, file.string());
  if (!defaults.ok()) return defaults.status();
  sampling_defaults_ = *defaults;
  return absl::OkStatus();
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
  for (const auto& [name, view] : tensors_) {
    const int64_t numbers_of_each = view.dtype == kernels::WeightFormat::kInt4 ? 2 : 1;
    if (!IsOfBlocks(name)) elements += view.NumElements() * numbers_of_each;
  }
  return elements;
}

int64_t Checkpoint::WeightBytes() const {
  int64_t bytes = 0;
  for (const auto& [name, view] : tensors_)
    bytes += view.NumElements() * kernels::SizeOf(view.dtype);
  return bytes;
}

std::string Checkpoint::Fingerprint(const std::stop_token& stop) const {
  constexpr size_t kPiece = size_t{16} << 20;
  // A digest of digests, so that bytes cannot move from one file into the next unnoticed.
  Sha256 hash;
  hash.Update(config_digest_);
  for (const Safetensors& file : files_) {
    Sha256 of_file;
    std::span<const std::byte> rest = file.bytes();
    while (!rest.empty() && !stop.stop_requested()) {
      const size_t piece = std::min(rest.size(), kPiece);
      of_file.Update(rest.first(piece));
      rest = rest.subspan(piece);
    }
    hash.Update(of_file.Digest());
  }
  return hash.Digest();
}

}  // namespace fmaserver::model
