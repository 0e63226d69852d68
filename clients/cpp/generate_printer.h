// What `fma generate` shows of a stream: text or JSON lines, the progress bar, the summary.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "clients/cpp/progress.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver {

/// One stream, one thread.
class GeneratePrinter {
 public:
  /// `model` tells what a cache costs.
  GeneratePrinter(const v1::Model& model, bool json) : model_(model), json_(json) {}

  /// Prints `response`. False when nobody reads standard output any more.
  bool Print(const v1::GenerateResponse& response);

  /// After the stream: what it took, on standard error; nothing with JSON lines, which hold it all.
  void PrintSummary(bool interrupted);

 private:
  bool PrintJson(const v1::GenerateResponse& response) const;
  bool PrintPlain(const v1::GenerateResponse& response);
  void Count(const v1::GenerateResponse& response);
  std::string CacheLine() const;

  const v1::Model& model_;
  const bool json_;
  ProgressBar bar_;
  bool line_open_ = false;  // the text printed last did not end its line

  // Counted here too, because an interrupted stream has no usage.
  v1::Usage usage_;
  bool finished_ = false;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace fmaserver
