// The server's log: text for people or JSON lines for programs, on standard output.
#pragma once

#include <chrono>
#include <string>

namespace fmaserver::log {

enum class LogFormat { kText, kJson };

/// Levels by name, the most talkative first.
inline constexpr const char* kLogLevels[] = {"trace", "debug", "info", "warning", "error", "off"};

/// Call once, before the first line. A separate thread writes the lines, so that threads that log
/// never wait for the reader of the log; when the reader is thousands of lines behind, the oldest
/// lines are dropped.
void SetUpLog(const std::string& level, LogFormat format);

/// Makes the log more (+1) or less (-1) talkative by one level, and logs that.
void ShiftLogLevel(int steps);

/// Writes what is queued, and ends the thread; what is logged later is dropped. False: nobody read
/// it for `patience`. The thread then still waits for a reader, and a process that is not to wait
/// with it ends by std::_Exit.
bool CloseLog(std::chrono::seconds patience);

}  // namespace fmaserver::log
