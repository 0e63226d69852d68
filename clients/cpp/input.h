// Where a command's text or token ids come from: an argument, a file, or standard input.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::client {

/// At most one is given. What was given empty is given all the same: it is not standard input.
struct InputOptions {
  std::optional<std::string> text;       ///< the argument itself
  std::optional<std::string> file;       ///< a path, or "-" for standard input
  std::optional<std::string> token_ids;  ///< a JSON array

  bool IsGiven() const { return text || file || token_ids; }
};

/// Adds TEXT and --prompt-file to `command`, or these and --token-ids; at most one may be given.
void AddTextOptions(CLI::App& command, InputOptions& options);
void AddInputOptions(CLI::App& command, InputOptions& options);

/// The text, byte for byte. Without any option it is read from standard input, unless that is a
/// terminal: INVALID_ARGUMENT says what to give. NOT_FOUND for a file that cannot be read.
absl::StatusOr<std::string> ReadText(const InputOptions& options);

/// INVALID_ARGUMENT unless `json` is an array of whole numbers from 0 to 2^32 - 1.
absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(const std::string& json);

/// Fills `request`, a message with the fields text and token_ids.
template <class Request>
absl::Status ReadInput(const InputOptions& options, Request& request) {
  if (!options.token_ids) {
    auto text = ReadText(options);
    if (!text.ok()) return text.status();
    request.set_text(*std::move(text));
    return absl::OkStatus();
  }
  auto ids = ParseTokenIds(*options.token_ids);
  if (!ids.ok()) return ids.status();
  request.mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
  return absl::OkStatus();
}

}  // namespace fmaserver::client
