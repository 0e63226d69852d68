// The server's log: text for people or JSON lines for programs, on standard output.
#pragma once

#include <string>

namespace fmaserver {

enum class LogFormat { kText, kJson };

/// Levels by name, the most talkative first.
inline constexpr const char* kLogLevels[] = {"trace", "debug", "info", "warning", "error", "off"};

/// Call once, before the first line. Lines are written by a thread of their own, so that whoever
/// logs never waits for the reader of the log; when the reader is thousands of lines behind, the
/// oldest are dropped.
void SetUpLog(const std::string& level, LogFormat format);

/// One level more (+1) or less (-1) talkative, and says so.
void ShiftLogLevel(int steps);

/// Writes what is queued, and ends the thread.
void CloseLog();

}  // namespace fmaserver
