// What `fma generate` shows of a stream: text or JSON lines, the progress bar, the summary.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "clients/cpp/attention_table.h"
#include "clients/cpp/passages.h"
#include "clients/cpp/progress.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// One stream, one thread.
class GeneratePrinter {
 public:
  /// `model` says what a cache costs. The texts of several `samples` are printed one after the
  /// other at the end.
  GeneratePrinter(const v1::Model& model, bool json, uint32_t samples)
      : model_(model), json_(json), texts_(samples > 1 ? samples : 0) {}

  /// Prints `response`. False when nobody reads standard output any more.
  bool Print(const v1::GenerateResponse& response);

  /// After the stream: the texts of samples, then on standard error what it took; nothing with JSON
  /// lines, which hold it all.
  void PrintSummary(bool interrupted);

  /// On standard error: what the text was read from, and how attention was divided, as far as the
  /// server says.
  void PrintTables() const;

 private:
  bool PrintJson(const v1::GenerateResponse& response) const;
  bool PrintPlain(const v1::GenerateResponse& response);
  bool PrintPrompt(const v1::TokenScores& prompt);
  bool PrintSampleText(uint32_t index, const std::string& text);
  void Count(const v1::GenerateResponse& response);
  void CountFinished(const v1::Usage& usage);
  std::string CacheLine() const;

  const v1::Model& model_;
  const bool json_;
  std::vector<std::string> texts_;  // of the samples; empty for a single one
  ProgressBar bar_;
  Passages passages_;
  AttentionTable attention_;
  bool line_open_ = false;  // the text printed last did not end its line

  // Counted here too, because an interrupted stream has no usage.
  v1::Usage usage_;
  std::optional<uint64_t> session_tokens_;
  uint64_t decoded_ = 0;  // generated tokens that decode_seconds were spent on
  std::string resume_token_;
  bool finished_ = false;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace fmaserver::client
