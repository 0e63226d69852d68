// Child processes of a test, with their output and exit code.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace fmaserver::testing {

/// A running program; the destructor kills it if it still runs.
class Process {
 public:
  /// Starts `argv` with standard input from `input_file`, and both outputs to files.
  explicit Process(const std::vector<std::string>& argv,
                   const std::string& input_file = "/dev/null");
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// -1 after its end.
  pid_t pid() const { return pid_; }
  void Signal(int signal) const;

  /// Waits for its end; returns the exit code, or minus the signal that killed it.
  int Wait();

  /// What it has written so far.
  std::string Output() const;
  std::string Errors() const;

 private:
  std::string output_file_;
  std::string errors_file_;
  pid_t pid_ = -1;
};

}  // namespace fmaserver::testing
