#include "server/log/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/async.h>
#include <spdlog/details/os.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <utility>

#include "server/log/call_log.h"

namespace fmaserver::log {
namespace {

std::string Timestamp(spdlog::log_clock::time_point time) {
  const auto since = time.time_since_epoch();
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(since).count() % 1000;
  const std::tm utc = spdlog::details::os::gmtime(spdlog::log_clock::to_time_t(time));
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", std::string_view(text, size), milliseconds);
}

/// Each line is a JSON object. Lines of the call log already consist of JSON fields.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string_view level = kLogLevels[std::min<int>(message.level, spdlog::level::err)];
    std::string fields;
    if (std::string_view(message.logger_name.data(), message.logger_name.size()) == kCallLogger) {
      fields = payload;
    } else {
      fields = "\"message\":" + nlohmann::json(payload).dump(
                                    -1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    fmt::format_to(std::back_inserter(line),
                   R"({{"time":"{}","level":"{}",{}}})"
                   "\n",
                   Timestamp(message.time), level, fields);
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

std::shared_ptr<spdlog::logger> MakeLogger(const std::string& name, const spdlog::sink_ptr& sink,
                                           spdlog::level::level_enum level) {
  auto logger = std::make_shared<spdlog::async_logger>(
      name, sink, spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(level);
  logger->flush_on(spdlog::level::trace);
  spdlog::register_logger(logger);
  return logger;
}

}  // namespace

void SetUpLog(const std::string& level, LogFormat format) {
  constexpr size_t kQueuedLines = 8192;
  spdlog::init_thread_pool(kQueuedLines, 1);
  spdlog::sink_ptr sink;
  if (format == LogFormat::kJson) {
    sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
    sink->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    sink = std::make_shared<spdlog::sinks::stdout_color_sink_mt>();
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  }
  const auto threshold = spdlog::level::from_str(level);
  spdlog::drop_all();
  spdlog::set_default_logger(MakeLogger("", sink, threshold));
  MakeLogger(kCallLogger, sink, threshold);
  // Protobuf logs every broken request, although the client is told about it anyway.
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel /*level*/, const char* /*file*/, int /*line*/,
         const std::string& message) { spdlog::debug("protobuf: {}", message); });
}

void ShiftLogLevel(int steps) {
  // "critical" is not a level of this server.
  int level = spdlog::get_level() - steps;
  level = std::clamp(level, static_cast<int>(spdlog::level::trace),
                     static_cast<int>(spdlog::level::err));
  spdlog::set_level(static_cast<spdlog::level::level_enum>(level));
  spdlog::log(static_cast<spdlog::level::level_enum>(level), "log level {}", kLogLevels[level]);
}

bool CloseLog(std::chrono::seconds patience) {
  std::promise<void> closed;
  const std::future<void> is_closed = closed.get_future();
  std::thread([closed = std::move(closed)]() mutable {
    // The loggers stay: a thread that knows nothing of the end may log on, in vain.
    spdlog::set_level(spdlog::level::off);
    spdlog::details::registry::instance().set_tp(nullptr);
    closed.set_value();
  }).detach();
  return is_closed.wait_for(patience) == std::future_status::ready;
}

}  // namespace fmaserver::log
