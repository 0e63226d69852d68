#include "bench/load/faults.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/refusal.h"

namespace fmaserver::bench {
namespace {

constexpr double kMostSeconds = 1e6;
constexpr size_t kMaxScriptBytes = size_t{1} << 20;

absl::StatusOr<Fault> ParseFault(absl::string_view line, const std::string& place) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(line, absl::MaxSplits(absl::ByAnyChar(" \t"), 1));
  Fault fault{.command = std::string(absl::StripAsciiWhitespace(parts.second))};
  const bool number = absl::SimpleAtod(parts.first, &fault.seconds);
  if (!number || !(fault.seconds >= 0 && fault.seconds <= kMostSeconds)) {
    return Refusal(At(place, "time"), parts.first, "seconds from 0 to 1000000");
  }
  if (fault.command.empty()) return Refusal(At(place, "command"), Words{"missing"}, "one");
  return fault;
}

/// Starts `command`, with all signals as a shell expects them; -1 without one.
pid_t Spawn(std::string command) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string shell = "sh";
  std::string option = "-c";
  char* const arguments[] = {shell.data(), option.data(), command.data(), nullptr};
  pid_t process = -1;
  if (posix_spawn(&process, "/bin/sh", &files, &attributes, arguments, environ) != 0) process = -1;
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return process;
}

/// Nothing for one that still runs.
std::optional<int> ExitCode(pid_t process) {
  int status = 0;
  if (waitpid(process, &status, WNOHANG) != process) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<std::vector<Fault>> ParseFaults(std::string_view text, std::string_view origin) {
  std::vector<Fault> faults;
  int number = 0;
  for (const absl::string_view raw : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line.front() == '#') continue;
    auto fault = ParseFault(line, Concat(origin, ", line ", number));
    if (!fault.ok()) return fault.status();
    faults.push_back(*std::move(fault));
  }
  std::ranges::stable_sort(faults, {}, &Fault::seconds);
  return faults;
}

absl::StatusOr<std::vector<Fault>> ReadFaults(const std::string& file) {
  if (file.empty()) return std::vector<Fault>();
  const auto text = ReadWholeFile(file, kMaxScriptBytes);
  if (!text.ok()) return text.status();
  return ParseFaults(*text, file);
}

FaultRunner::FaultRunner(const std::vector<Fault>& faults, double begin) {
  for (const Fault& fault : faults) outcomes_.push_back({.fault = fault});
  thread_ = std::thread([this, begin] { Run(begin); });
}

FaultRunner::~FaultRunner() { Stop(); }

void FaultRunner::Run(double begin) {
  for (FaultOutcome& outcome : outcomes_) {
    if (!stop_.SleepUntil(begin + outcome.fault.seconds)) return;
    const pid_t process = Spawn(outcome.fault.command);
    if (process < 0) return;
    outcome.begin = NowSeconds();
    processes_.push_back(process);
  }
}

const std::vector<FaultOutcome>& FaultRunner::Stop() {
  if (!thread_.joinable()) return outcomes_;
  stop_.Cancel();
  thread_.join();
  for (size_t i = 0; i < processes_.size(); ++i) {
    outcomes_[i].exit_code = ExitCode(processes_[i]);
    if (!outcomes_[i].exit_code) kill(-processes_[i], SIGTERM);
  }
  return outcomes_;
}

}  // namespace fmaserver::bench
