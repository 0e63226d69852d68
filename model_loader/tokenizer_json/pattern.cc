#include "model_loader/tokenizer_json/pattern.h"

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/tokenizer_json/pattern_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "pcre2.h"

namespace fmaserver::model {
namespace {

// Published expressions need a few steps for each character of the longest word.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kMostHeapKibibytes = 64 * 1024;
constexpr size_t kMostExpressionBytes = 16 * 1024;

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR Bytes(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct MatchMemory::State {
  pcre2_match_context* limits = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
};

MatchMemory::MatchMemory() : state_(std::make_unique<State>()) {
  pcre2_set_match_limit(state_->limits, kMatchLimit);
  pcre2_set_heap_limit(state_->limits, kMostHeapKibibytes);
}

MatchMemory::~MatchMemory() {
  pcre2_match_data_free(state_->data);
  pcre2_match_context_free(state_->limits);
}

struct Pattern::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* code;
};

absl::StatusOr<Pattern> Pattern::Compile(std::string_view expression, std::string_view where) {
  const std::string place = At(where, "regular expression");
  if (expression.size() > kMostExpressionBytes) {
    return Refusal(place, Words{Concat(expression.size(), " bytes")},
                   Concat("at most ", kMostExpressionBytes));
  }
  const absl::StatusOr<std::string> translated = ToPcre2Syntax(expression, where);
  if (!translated.ok()) return translated.status();
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code =
      pcre2_compile(Bytes(*translated), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  if (code == nullptr) {
    return Refusal(place, expression, Concat("what PCRE2 takes (", MessageOf(error), ")"));
  }
  Pattern pattern(std::make_shared<const Code>(code));
  uint32_t matches_nothing = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_nothing);
  if (matches_nothing != 0) {
    return Refusal(place, expression, "an expression that matches at least a character");
  }
  // Without machine code for it (another processor, no executable memory) it is interpreted.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return pattern;
}

absl::StatusOr<Pattern> Pattern::Exactly(std::string_view text, std::string_view where) {
  if (text.empty()) return Refusal(where, text, "a text that is not empty");
  std::string expression;
  for (const char byte : text) {
    if (absl::ascii_ispunct(byte)) expression += '\\';
    expression += byte;
  }
  return Compile(expression, where);
}

absl::StatusOr<std::optional<MatchRange>> Pattern::Find(std::string_view text, size_t from,
                                                        const MatchMemory& memory) const {
  const auto match = [&](uint32_t options) {
    return pcre2_match(code_->code, Bytes(text), text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       memory.state_->data, memory.state_->limits);
  };
  int result = match(0);
  // The machine code works on a small stack; the interpreter takes more memory, and is slower.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    return Refusal("text", Words{"too hard to cut"},
                   Concat("what the tokenizer's regular expression matches in ", kMatchLimit,
                          " steps and ", kMostHeapKibibytes, " KiB (", MessageOf(result), ")"),
                   absl::StatusCode::kResourceExhausted);
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(memory.state_->data);
  return MatchRange{range[0], range[1]};
}

}  // namespace fmaserver::model
