#include "server/metrics/process_metrics.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>

namespace fmaserver::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family{name, help, type, {{}}};
  family.metric[0].counter.value = value;
  family.metric[0].gauge.value = value;
  return family;
}

struct ProcessStat {
  double cpu_seconds = 0;
  double threads = 0;
  double start_seconds = 0;  // since the epoch
  double virtual_bytes = 0;
  double resident_bytes = 0;
};

std::optional<double> BootSeconds() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::stod(line.substr(6));
  }
  return std::nullopt;
}

/// Fields of /proc/self/stat as proc(5) numbers them.
std::optional<ProcessStat> ReadProcessStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The program's name, in parentheses, may contain anything, so count from its end.
  const size_t name_end = line.rfind(')');
  const std::optional<double> boot = BootSeconds();
  if (name_end == std::string::npos || !boot.has_value()) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string state;
  fields >> state;
  constexpr int kFirst = 4;
  constexpr int kLast = 24;
  double field[kLast + 1] = {};
  for (int i = kFirst; i <= kLast; ++i) fields >> field[i];
  if (!fields) return std::nullopt;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  return ProcessStat{.cpu_seconds = (field[14] + field[15]) / ticks,
                     .threads = field[20],
                     .start_seconds = *boot + field[22] / ticks,
                     .virtual_bytes = field[23],
                     .resident_bytes = field[24] * page};
}

std::optional<double> OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator begin("/proc/self/fd", error);
  if (error) return std::nullopt;
  return static_cast<double>(std::distance(begin, std::filesystem::directory_iterator()));
}

MetricFamily BuildInfo() {
  MetricFamily family =
      Family("fma_build_info", "The running build; always 1.", MetricType::Gauge, 1);
  family.metric[0].label = {{"version", FMA_VERSION}, {"compiler", __VERSION__}};
  return family;
}

MetricFamily RoleInfo(const std::string& role) {
  MetricFamily family =
      Family("fma_role_info", "What the server does of the work; always 1.", MetricType::Gauge, 1);
  family.metric[0].label = {{"role", role}};
  return family;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> families = {BuildInfo(), RoleInfo(role_)};
  const auto add = [&](const char* name, const char* help, MetricType type, double value) {
    families.push_back(Family(name, help, type, value));
  };
  if (const auto stat = ReadProcessStat(); stat.has_value()) {
    add("process_cpu_seconds_total", "CPU time in user and system mode.", MetricType::Counter,
        stat->cpu_seconds);
    add("process_threads", "Threads.", MetricType::Gauge, stat->threads);
    add("process_start_time_seconds", "When the process started, since the epoch.",
        MetricType::Gauge, stat->start_seconds);
    add("process_virtual_memory_bytes", "Address space.", MetricType::Gauge, stat->virtual_bytes);
    add("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge, stat->resident_bytes);
  }
  if (const auto open = OpenFiles(); open.has_value()) {
    add("process_open_fds", "Open file descriptors.", MetricType::Gauge, *open);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    add("process_max_fds", "File descriptors that may be open.", MetricType::Gauge,
        static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace fmaserver::metrics
