#include "clients/cpp/generate_printer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "clients/cpp/output.h"
#include "clients/cpp/token_json.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

using nlohmann::json;

const char* NameOf(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_EOS:
      return "eos";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_STOP_SEQUENCE:
      return "stop_sequence";
    case v1::FINISH_REASON_TIME_LIMIT:
      return "time_limit";
    default:
      return "unspecified";
  }
}

/// "not_kept"; empty: some of the prompt was found.
std::string NameOf(v1::CacheMiss miss) {
  if (miss == v1::CACHE_MISS_UNSPECIFIED) return {};
  const std::string name = v1::CacheMiss_Name(miss);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "CACHE_MISS_"));
}

json ToJson(const v1::Delta& delta) {
  json object = {{"event", "delta"}, {"token_ids", delta.token_ids()}, {"text", delta.text()}};
  if (delta.logprobs_size() > 0) object["logprobs"] = delta.logprobs();
  for (const v1::TopLogprobs& top : delta.top_logprobs()) {
    object["top_logprobs"].push_back(AlternativesToJson(top.tokens()));
  }
  for (const v1::Sources& sources : delta.sources()) {
    object["sources"].push_back(SourcesToJson(sources));
  }
  for (const v1::AttentionShares& shares : delta.attention_shares()) {
    object["attention_shares"].push_back(SharesToJson(shares));
  }
  return object;
}

/// By the sequence, or by the session that it went on from.
uint64_t TokensHeld(const v1::Finished& finished) {
  if (finished.has_session()) return finished.session().tokens();
  return finished.usage().prompt_tokens() + finished.usage().generated_tokens();
}

uint64_t ArchiveBytes(const v1::Usage& usage, const v1::Model& model) {
  return usage.archived_tokens() * model.archive_bytes_per_1000_tokens() / 1000;
}

json ToJson(const v1::Finished& finished, const v1::Model& model) {
  const v1::Usage& usage = finished.usage();
  const uint64_t tokens = TokensHeld(finished);
  json object = {{"event", "finished"},
                 {"reason", NameOf(finished.reason())},
                 {"text", finished.text()},
                 {"usage",
                  {{"prompt_tokens", usage.prompt_tokens()},
                   {"generated_tokens", usage.generated_tokens()},
                   {"queue_seconds", usage.queue_seconds()},
                   {"prefill_seconds", usage.prefill_seconds()},
                   {"decode_seconds", usage.decode_seconds()},
                   {"cached_tokens", usage.cached_tokens()},
                   {"cache_miss", NameOf(usage.cache_miss())},
                   {"archived_tokens", usage.archived_tokens()}}},
                 {"cache_bytes", model.slot_bytes()},
                 {"archive_bytes", ArchiveBytes(usage, model)},
                 {"full_cache_bytes", tokens * model.full_cache_bytes_per_token()}};
  if (finished.has_stop()) object["stop"] = finished.stop();
  if (finished.has_stop_token_id()) object["stop_token_id"] = finished.stop_token_id();
  if (finished.has_session()) {
    object["session"] = {{"session_id", finished.session().session_id()},
                         {"tokens", finished.session().tokens()},
                         {"durable", finished.session().durable()}};
  }
  return object;
}

// Which sample a message belongs to; samples are only named when there are several.
json WithIndex(json object, uint32_t index, bool several) {
  if (several) object["index"] = index;
  return object;
}

// "64 tokens in 0.80 s (78.8 tok/s)"; the rate counts only the tokens that the time was spent on.
std::string Speed(uint64_t tokens, double seconds, uint64_t timed_tokens) {
  std::string text = absl::StrFormat("%s tokens in %.2f s", WithCommas(tokens), seconds);
  if (seconds > 0 && timed_tokens > 0) {
    absl::StrAppend(&text, " (", HumanRate(static_cast<double>(timed_tokens) / seconds), " tok/s)");
  }
  return text;
}

}  // namespace

bool GeneratePrinter::Print(const v1::GenerateResponse& response) {
  Count(response);
  return json_ ? PrintJson(response) : PrintPlain(response);
}

void GeneratePrinter::Count(const v1::GenerateResponse& response) {
  if (response.has_progress()) usage_.set_prompt_tokens(response.progress().total_tokens());
  if (response.has_interrupted()) resume_token_ = response.interrupted().resume_token();
  usage_.set_generated_tokens(usage_.generated_tokens() + response.delta().token_ids_size());
  passages_.Add(response.delta());
  attention_.Add(response.delta());
  if (!response.has_finished()) return;
  CountFinished(response.finished().usage());
  if (response.finished().has_session()) session_tokens_ = TokensHeld(response.finished());
}

// Samples share the prompt and decode side by side.
void GeneratePrinter::CountFinished(const v1::Usage& usage) {
  usage_.set_prompt_tokens(usage.prompt_tokens());
  usage_.set_prefill_seconds(usage.prefill_seconds());
  usage_.set_archived_tokens(std::max(usage_.archived_tokens(), usage.archived_tokens()));
  usage_.set_decode_seconds(std::max(usage_.decode_seconds(), usage.decode_seconds()));
  // The first token comes out of the prompt's last step.
  decoded_ += usage.generated_tokens() > 0 ? usage.generated_tokens() - 1 : 0;
  finished_ = true;
}

bool GeneratePrinter::PrintJson(const v1::GenerateResponse& response) const {
  const bool several = !texts_.empty();
  switch (response.event_case()) {
    case v1::GenerateResponse::kProgress:
      return PrintJsonLine({{"event", "progress"},
                            {"processed_tokens", response.progress().processed_tokens()},
                            {"total_tokens", response.progress().total_tokens()}});
    case v1::GenerateResponse::kPrompt:
      for (const v1::TokenScore& score : response.prompt().tokens()) {
        if (!PrintJsonLine(TokenScoreToJson("prompt", score))) return false;
      }
      return true;
    case v1::GenerateResponse::kDelta:
      return PrintJsonLine(WithIndex(ToJson(response.delta()), response.delta().index(), several));
    case v1::GenerateResponse::kFinished:
      return PrintJsonLine(
          WithIndex(ToJson(response.finished(), model_), response.finished().index(), several));
    case v1::GenerateResponse::kInterrupted:
      return PrintJsonLine(
          {{"event", "interrupted"}, {"resume_token", response.interrupted().resume_token()}});
    default:
      return true;
  }
}

bool GeneratePrinter::PrintPlain(const v1::GenerateResponse& response) {
  if (response.has_progress()) {
    bar_.Show(response.progress().processed_tokens(), response.progress().total_tokens());
    return true;
  }
  bar_.Clear();
  if (response.has_prompt()) return PrintPrompt(response.prompt());
  if (response.has_finished()) {
    return PrintSampleText(response.finished().index(), response.finished().text());
  }
  const v1::Delta& delta = response.delta();
  std::string text = delta.text();
  if (model_.tokenizer().empty()) {
    for (const uint32_t id : delta.token_ids()) absl::StrAppend(&text, id, " ");
  }
  return PrintSampleText(delta.index(), text);
}

bool GeneratePrinter::PrintPrompt(const v1::TokenScores& prompt) {
  std::string text;
  for (const v1::TokenScore& score : prompt.tokens()) {
    if (model_.tokenizer().empty()) {
      absl::StrAppend(&text, score.token_id(), " ");
    } else {
      text += score.token();
    }
  }
  return WriteOutput(text);
}

bool GeneratePrinter::PrintSampleText(uint32_t index, const std::string& text) {
  if (index < texts_.size()) {
    texts_[index] += text;
    return true;
  }
  if (!text.empty()) line_open_ = text.back() != '\n';
  return WriteOutput(text);
}

std::string GeneratePrinter::CacheLine() const {
  const uint64_t tokens =
      session_tokens_.value_or(usage_.prompt_tokens() + usage_.generated_tokens());
  const uint64_t full_bytes = tokens * model_.full_cache_bytes_per_token();
  if (model_.slot_bytes() == 0) return {};
  if (const uint64_t archive = ArchiveBytes(usage_, model_); archive > 0) {
    return absl::StrFormat(
        "cache %s beside an archive of %s, a full KV cache would hold %s at %s tokens\n",
        HumanBytes(model_.slot_bytes()), HumanBytes(archive), HumanBytes(full_bytes),
        WithCommas(tokens));
  }
  return absl::StrFormat(
      "cache %s, a full KV cache would hold %s at %s tokens, %.3gx\n",
      HumanBytes(model_.slot_bytes()), HumanBytes(full_bytes), WithCommas(tokens),
      static_cast<double>(full_bytes) / static_cast<double>(model_.slot_bytes()));
}

void GeneratePrinter::PrintTables() const {
  absl::FPrintF(stderr, "%s%s", passages_.Table(), attention_.Table());
}

void GeneratePrinter::PrintSummary(bool interrupted) {
  bar_.Clear();
  if (json_) return;
  for (size_t i = 0; i < texts_.size(); ++i) {
    WriteOutput(absl::StrCat("--- ", i, "\n", texts_[i], "\n"));
  }
  // The terminal's next line; a pipe gets the text as it is.
  if (line_open_ && isatty(STDERR_FILENO) != 0) std::fputs("\n", stderr);
  const uint64_t prompt = usage_.prompt_tokens();
  const uint64_t generated = usage_.generated_tokens();
  if (interrupted) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    absl::FPrintF(stderr, "interrupted; generated %s\n",
                  Speed(generated, elapsed.count(), generated));
  }
  if (!resume_token_.empty()) {
    absl::FPrintF(stderr, "the server stopped; go on with --resume %s\n", resume_token_);
  }
  PrintTables();
  if (!finished_) return;
  absl::FPrintF(stderr, "prompt %s; generated %s\n%s",
                Speed(prompt, usage_.prefill_seconds(), prompt),
                Speed(generated, usage_.decode_seconds(), decoded_), CacheLine());
}

}  // namespace fmaserver::client
