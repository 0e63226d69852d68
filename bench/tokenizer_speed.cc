// How fast a tokenizer.json encodes a text, in processor time of one core:
// tokenizer_speed --tokenizer FILE --text FILE [--repeat N].
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <limits>
#include <string>

#include "base/file.h"
#include "model_loader/tokenizer_json/tokenizer.h"

namespace fmaserver::bench {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;

double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

absl::Status Measure(const std::string& tokenizer_file, const std::string& text_file, int repeat) {
  const auto json = ReadWholeFile(tokenizer_file, kMaxBytes);
  if (!json.ok()) return json.status();
  const auto text = ReadWholeFile(text_file, kMaxBytes);
  if (!text.ok()) return text.status();
  double start = ProcessorSeconds();
  const auto tokenizer =
      model::MakeJsonTokenizer(*json, tokenizer_file, std::numeric_limits<int32_t>::max());
  if (!tokenizer.ok()) return tokenizer.status();
  const double loading = ProcessorSeconds() - start;
  double best = std::numeric_limits<double>::infinity();
  size_t tokens = 0;
  for (int i = 0; i < repeat; ++i) {
    start = ProcessorSeconds();
    const auto ids = (*tokenizer)->Encode(*text);
    if (!ids.ok()) return ids.status();
    best = std::min(best, ProcessorSeconds() - start);
    tokens = ids->size();
  }
  std::printf("loaded in %.2f s; %zu bytes, %zu tokens, %.1f MB/s\n", loading, text->size(), tokens,
              static_cast<double>(text->size()) / best / 1e6);
  return absl::OkStatus();
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  std::string tokenizer;
  std::string text;
  int repeat = 5;
  CLI::App app("Times how fast a tokenizer.json encodes a text, in processor time of one core.");
  app.add_option("--tokenizer", tokenizer, "tokenizer.json")->required();
  app.add_option("--text", text, "UTF-8")->required();
  app.add_option("--repeat", repeat, "Encodings; the best is told")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = fmaserver::bench::Measure(tokenizer, text, repeat);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
