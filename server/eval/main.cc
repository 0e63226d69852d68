// fma-eval: prints tokens, bits per byte and perplexity of a text under a checkpoint.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "command_line/numbers.h"
#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"
#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "nlohmann/json.hpp"
#include "server/engine/model.h"
#include "server/eval/encode.h"
#include "server/eval/evaluation.h"
#include "server/eval/npy_writer.h"

namespace fmaserver::eval {
namespace {

struct Flags {
  std::string model;
  std::string text_file;
  std::string token_file;
  int64_t context = 0;
  std::string mode = "prefill";
  int32_t chunk = 256;
  std::string logits_file;
  std::string losses_file;
  std::string embedding_file;
  int64_t hide_every = 0;
  std::string cache_dtype = "f32";
  std::string archive_dtype = "as-is";
  std::string parked_dtype = "as-is";
  int64_t park_every = 0;
  std::string weights = "as-is";
  std::string device = "auto";
  int threads = 0;
  bool no_archive = false;
};

void DeclareFlags(CLI::App& app, Flags& flags) {
  app.add_option("--model", flags.model, "Checkpoint folder")
      ->required()
      ->check(CLI::ExistingDirectory);
  CLI::Option_group* input = app.add_option_group("input", "What to read (one of)");
  input->add_option("--text", flags.text_file, "UTF-8 text file")->check(CLI::ExistingFile);
  input
      ->add_option("--token-ids", flags.token_file,
                   "JSON file: a list of ids, or an object with a `tokens` list")
      ->check(CLI::ExistingFile);
  input->require_option(1);
  AddNumber(app, "--context", flags.context,
            "Tokens of a window; each window is read from scratch (0: all in one)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  app.add_option("--mode", flags.mode, "prefill: whole chunks at once; decode: one token at a time")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  AddNumber(app, "--chunk", flags.chunk,
            "Tokens of a chunk in prefill mode; of an encoder, rows of a product")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--logits", flags.logits_file, "Write all logits to this .npy, [n, V] float32");
  app.add_option("--losses", flags.losses_file,
                 "Write -ln p of each scored token to this .npy, [scored tokens] float32");
  app.add_option("--embedding", flags.embedding_file,
                 "Of an encoder: write the text's embedding to this .npy, [windows, D] float32");
  AddNumber(
      app, "--hide-every", flags.hide_every,
      "Of an encoder: also its pseudo-perplexity, in K passes that each hide every K-th token "
      "of a window; K of a window's length or more hides one token at a time, which is the "
      "usual definition and takes as many passes as the window has tokens")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40))
      ->type_name("K");
  app.add_option("--cache-dtype", flags.cache_dtype, "Element type of the cache")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--archive-dtype", flags.archive_dtype,
                 "The same of the tokens that a model can open again; as-is: the cache's")
      ->check(CLI::IsMember({"as-is", "bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--parked-dtype", flags.parked_dtype,
                 "Element type of the state with --park-every; as-is: as in the cache")
      ->check(CLI::IsMember({"as-is", "bf16", "int8"}))
      ->capture_default_str();
  AddNumber(app, "--park-every", flags.park_every,
            "Keep the state as a server does between turns, and go on from that, every so many "
            "tokens (0: never)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->type_name("N");
  app.add_option("--weights", flags.weights,
                 "The large weights, rounded when they are loaded; as-is: as the checkpoint has "
                 "them")
      ->check(CLI::IsMember({"as-is", "bf16", "int8", "int4"}))
      ->capture_default_str();
  app.add_flag("--no-archive", flags.no_archive,
               "Open no units of the far past: the same model in constant memory");
  app.add_option("--device", flags.device,
                 "Where to compute; auto: cuda:0 if there is one, else cpu")
      ->check([](const std::string& name) {
        return std::string(kernels::CheckDeviceName(name).message());
      })
      ->type_name("auto|cpu|cuda:N")
      ->capture_default_str();
  AddNumber(app, "--threads", flags.threads, "Threads (0: one per core)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream || text.fail()) return absl::UnavailableError(absl::StrCat("cannot read ", path));
  return std::move(text).str();
}

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(const std::string& text,
                                                   const std::string& path) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json* list = &json;
  if (json.is_object() && json.contains("tokens")) list = &json["tokens"];
  if (!list->is_array()) {
    return Refusal(path, Words{Excerpt(json)},
                   "a JSON list of token ids, or an object with such a list as `tokens`");
  }
  std::vector<int32_t> tokens;
  for (const nlohmann::json& id : *list) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return Refusal(At(path, absl::StrCat("entry ", tokens.size())), Words{Excerpt(id)},
                     "a token id");
    }
    tokens.push_back(id.get<int32_t>());
  }
  return tokens;
}

absl::StatusOr<std::vector<int32_t>> ReadTokens(const Flags& flags,
                                                const model::Checkpoint& checkpoint) {
  const bool is_text = !flags.text_file.empty();
  const std::string& path = is_text ? flags.text_file : flags.token_file;
  absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  if (!is_text) return ParseTokenIds(*content, path);
  if (checkpoint.tokenizer() == nullptr) {
    return Refusal("--text", Words{"set"}, "--token-ids instead: this checkpoint has no tokenizer",
                   absl::StatusCode::kFailedPrecondition);
  }
  return checkpoint.tokenizer()->Encode(*content);
}

/// All but the first token of each window.
int64_t ScoredTokens(int64_t tokens, int64_t context) {
  return context == 0 ? tokens - 1 : tokens - (tokens + context - 1) / context;
}

/// The bytes of the scored tokens' text.
std::optional<int64_t> ScoredBytes(const std::vector<int32_t>& tokens, int64_t context,
                                   const model::Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return std::nullopt;
  int64_t bytes = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool first = context == 0 ? i == 0 : i % static_cast<size_t>(context) == 0;
    if (!first) bytes += static_cast<int64_t>(tokenizer->TokenBytes(tokens[i]).size());
  }
  return bytes;
}

void PrintProgress(const Evaluation& so_far, int64_t total) {
  std::fprintf(stderr, "\r%lld of %lld tokens, %.0f tokens/s ",
               static_cast<long long>(so_far.tokens), static_cast<long long>(total),
               static_cast<double>(so_far.tokens) / so_far.seconds);
}

void PrintResult(const Evaluation& result, std::optional<int64_t> bytes, int64_t cache_bytes) {
  const auto scored = static_cast<double>(result.scored_tokens);
  std::string text = absl::StrFormat("tokens          %d\nscored tokens   %d\n", result.tokens,
                                     result.scored_tokens);
  if (result.scored_tokens > 0) {
    const double bits = result.nats / std::log(2.0);
    if (bytes.has_value() && *bytes > 0) {
      absl::StrAppendFormat(&text, "bits per byte   %.6f\n", bits / static_cast<double>(*bytes));
    }
    absl::StrAppendFormat(&text, "bits per token  %.6f\nperplexity      %.4f\n", bits / scored,
                          std::exp(result.nats / scored));
  }
  absl::StrAppendFormat(&text, "tokens/s        %.1f\ncache bytes     %d\n",
                        static_cast<double>(result.tokens) / result.seconds, cache_bytes);
  WriteOutput(text);
}

absl::StatusOr<std::unique_ptr<engine::Model>> LoadModel(const Flags& flags,
                                                         const model::Checkpoint& checkpoint,
                                                         int32_t chunk) {
  engine::ModelOptions options;
  options.max_rows = chunk;
  options.cache_type = *kernels::CacheTypeNamed(flags.cache_dtype);     // CLI11 checked it
  options.archive_type = kernels::CacheTypeNamed(flags.archive_dtype);  // as-is: none
  options.weights = *engine::WeightTypeNamed(flags.weights);
  absl::StatusOr<kernels::ChosenBackend> device = kernels::MakeBackend(flags.device, flags.threads);
  if (!device.ok()) return device.status();
  return engine::Model::Load(checkpoint, std::move(device->backend), options);
}

/// A writer for an array of this shape when a file was named.
absl::StatusOr<std::optional<NpyWriter>> Writer(const std::string& file,
                                                const std::vector<int64_t>& shape) {
  if (file.empty()) return std::nullopt;
  return NpyWriter::Create(file, shape);
}

/// Refuses options that mean nothing to an encoder.
absl::Status CheckEncoderFlags(const Flags& flags) {
  constexpr std::string_view kEncoder = " for an encoder, which keeps no cache";
  if (flags.mode == "decode") return Refusal("--mode", flags.mode, Concat("prefill", kEncoder));
  if (flags.cache_dtype != "f32") {
    return Refusal("--cache-dtype", flags.cache_dtype, Concat("f32", kEncoder));
  }
  if (flags.archive_dtype != "as-is") {
    return Refusal("--archive-dtype", flags.archive_dtype, Concat("as-is", kEncoder));
  }
  if (flags.park_every > 0) {
    return Refusal("--park-every", flags.park_every, Concat("0", kEncoder));
  }
  if (flags.no_archive) return Refusal("--no-archive", Words{"set"}, Concat("not set", kEncoder));
  if (flags.losses_file.empty() || flags.hide_every > 0) return absl::OkStatus();
  return Refusal("--losses", flags.losses_file,
                 "not set for an encoder, which sees the tokens that it would guess, unless "
                 "--hide-every hides them");
}

absl::Status RunEncoder(const Flags& flags, const model::Checkpoint& checkpoint,
                        const std::vector<int32_t>& tokens) {
  if (absl::Status status = CheckEncoderFlags(flags); !status.ok()) return status;
  EncodeOptions options;
  options.context = flags.context;
  options.device = flags.device;
  options.threads = flags.threads;
  options.encoder.slice_rows = flags.chunk;
  options.encoder.weights = *engine::WeightTypeNamed(flags.weights);
  options.logits_file = flags.logits_file;
  options.embedding_file = flags.embedding_file;
  options.hide_every = flags.hide_every;
  options.losses_file = flags.losses_file;
  return Encode(checkpoint, tokens, options);
}

absl::Status RunDecoder(const Flags& flags, const model::Checkpoint& checkpoint,
                        const std::vector<int32_t>& tokens) {
  if (!flags.embedding_file.empty()) {
    return Refusal("--embedding", flags.embedding_file, "not set for a decoder (FmaForCausalLM)");
  }
  if (flags.hide_every > 0) {
    return Refusal("--hide-every", flags.hide_every, "not set for a decoder (FmaForCausalLM)");
  }
  if (flags.park_every == 0 && flags.parked_dtype != "as-is") {
    return Refusal("--park-every", flags.park_every, "1 or more with --parked-dtype");
  }
  EvaluationOptions options;
  options.context = flags.context;
  options.chunk = flags.mode == "decode" ? 1 : flags.chunk;
  options.opens = !flags.no_archive;
  options.park_every = flags.park_every;
  options.parked_type = kernels::CacheTypeNamed(flags.parked_dtype);  // as-is: none
  const absl::StatusOr<std::unique_ptr<engine::Model>> model =
      LoadModel(flags, checkpoint, options.chunk);
  if (!model.ok()) return model.status();

  EvaluationHooks hooks;
  const auto total = static_cast<int64_t>(tokens.size());
  auto logits = Writer(flags.logits_file, {total, (*model)->config().vocab_size});
  if (!logits.ok()) return logits.status();
  if (logits->has_value()) hooks.on_logits = [&](auto rows) { (*logits)->Append(rows); };
  auto losses = Writer(flags.losses_file, {ScoredTokens(total, flags.context)});
  if (!losses.ok()) return losses.status();
  if (losses->has_value()) hooks.on_losses = [&](auto nats) { (*losses)->Append(nats); };
  const bool show_progress = isatty(STDERR_FILENO) != 0;
  if (show_progress) {
    hooks.on_progress = [&](const Evaluation& so_far) { PrintProgress(so_far, total); };
  }
  const absl::StatusOr<Evaluation> result = Evaluate(**model, tokens, options, hooks);
  if (show_progress) std::fprintf(stderr, "\n");
  if (!result.ok()) return result.status();
  for (std::optional<NpyWriter>* writer : {&*logits, &*losses}) {
    if (!writer->has_value()) continue;
    if (absl::Status status = (*writer)->Close(); !status.ok()) return status;
  }
  PrintResult(*result, ScoredBytes(tokens, flags.context, checkpoint.tokenizer().get()),
              (*model)->slot_bytes());
  return absl::OkStatus();
}

absl::Status Run(const Flags& flags) {
  const absl::StatusOr<model::Checkpoint> checkpoint = model::Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  const absl::StatusOr<std::vector<int32_t>> tokens = ReadTokens(flags, *checkpoint);
  if (!tokens.ok()) return tokens.status();
  const bool decodes = checkpoint->config().attention.causal;
  return decodes ? RunDecoder(flags, *checkpoint, *tokens)
                 : RunEncoder(flags, *checkpoint, *tokens);
}

}  // namespace
}  // namespace fmaserver::eval

int main(int argc, char** argv) {
  fmaserver::PrepareProcess();
  fmaserver::eval::Flags flags;
  CLI::App app(
      "Measures how likely a checkpoint finds a text, without a server.\n\n"
      "Example: fma-eval --model models/fma-books-11m --text book.txt --context 2048");
  fmaserver::eval::DeclareFlags(app, flags);
  if (const auto code = fmaserver::ParseCommandLine(app, argc, argv)) return *code;
  const absl::Status status = fmaserver::eval::Run(flags);
  if (status.ok()) return fmaserver::FinishOutput(0);
  std::fprintf(stderr, "fma-eval: %s\n", std::string(status.message()).c_str());
  return 1;
}
