// Lines that a person types or pastes, or that come from a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace fmaserver::client {

/// One at a time, and one thread.
class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Whether a person is there: standard input and output are a terminal.
  bool interactive() const { return terminal_ != nullptr; }

  /// What came before Enter; a pasted text may have several lines. Ctrl-C gives an empty line.
  /// Nothing at the end of the input. A person sees `prompt`, can edit, and finds earlier lines.
  std::optional<std::string> Read(const std::string& prompt);

 private:
  struct Terminal;
  std::unique_ptr<Terminal> terminal_;  // null: lines of standard input
};

}  // namespace fmaserver::client
