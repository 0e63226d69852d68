// fma-server: loads a checkpoint and serves it over gRPC until SIGTERM or SIGINT.
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"
#include "server/access/access.h"
#include "server/flags.h"
#include "server/http/http_server.h"
#include "server/load_model.h"
#include "server/log/call_log.h"
#include "server/log/log.h"
#include "server/metrics/call_metrics.h"
#include "server/metrics/door_metrics.h"
#include "server/metrics/exposition.h"
#include "server/metrics/process_metrics.h"
#include "server/models/model_registry.h"
#include "server/net/descriptor_limit.h"
#include "server/rpc/rpc_server.h"
#include "server/service/service.h"
#include "server/signals.h"
#include "server/status_pages.h"

namespace fmaserver {
namespace {

constexpr std::chrono::seconds kLogPatience(2);

log::LogFormat FormatOf(const Flags& flags) {
  return flags.log_format == "json" ? log::LogFormat::kJson : log::LogFormat::kText;
}

/// All models of the command line, the first of which is the default.
absl::Status LoadModels(const std::vector<models::ModelSource>& sources,
                        models::ModelRegistry& models) {
  for (const models::ModelSource& source : sources) {
    if (auto model = models.Load(source); !model.ok()) return model.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<models::ModelSource>> SourcesOf(const Flags& flags) {
  std::vector<models::ModelSource> sources;
  for (const std::string& text : flags.models) {
    auto source =
        models::ParseSource(text, sources.empty() ? flags.model_names : std::vector<std::string>());
    if (!source.ok()) return source.status();
    sources.push_back(*std::move(source));
  }
  return sources;
}

/// Counts and logs each call.
class CallWatch final : public service::CallObserver {
 public:
  CallWatch(std::shared_ptr<metrics::CallMetrics> metrics, log::LogFormat format)
      : metrics_(std::move(metrics)), log_(format) {}
  void OnCall(const service::CallReport& report) override {
    metrics_->OnCall(report);
    log_.OnCall(report);
  }

 private:
  const std::shared_ptr<metrics::CallMetrics> metrics_;
  log::CallLog log_;
};

/// The HTTP port, when there is one, and what it answers from.
struct Probes {
  explicit Probes(const metrics::Exposition& exposition) : pages(exposition) {}

  StatusPages pages;
  std::unique_ptr<http::HttpServer> http;
};

absl::Status StartHttp(const std::string& address, Probes& probes) {
  if (address.empty()) return absl::OkStatus();
  auto http = http::HttpServer::Start(
      address, [&probes](const std::string& path) { return probes.pages.Answer(path); });
  if (!http.ok()) return http.status();
  probes.http = *std::move(http);
  spdlog::info("HTTP on {}, port {}", address, probes.http->port());
  return absl::OkStatus();
}

/// Whether no model would take the next request.
bool AllAreFull(const models::ModelRegistry& models) {
  return std::ranges::all_of(
      models.List(), [](const models::ModelPtr& model) { return model->engine().IsFull(); });
}

bool DeviceFailed(const models::ModelRegistry& models) {
  return std::ranges::any_of(
      models.List(), [](const models::ModelPtr& model) { return model->engine().DeviceFailed(); });
}

/// Says on what the server relies, so that a setting that was lost is seen.
void LogSecurity(const Flags& flags) {
  const tls::TlsOptions& tls = flags.door.tls;
  spdlog::info("security: TLS {}{}", tls.cert.empty() ? "off: no --tls-cert" : "on: " + tls.cert,
               tls.client_ca.empty() ? "" : ", clients' certificates of " + tls.client_ca);
  if (flags.tokens.empty()) {
    spdlog::warn("security: authentication off: no --tokens, whoever can connect may call");
  } else {
    spdlog::info("security: authentication on: tokens of {}", flags.tokens);
  }
  spdlog::info("security: administrators {}", flags.admin_tokens.empty()
                                                  ? "none: no --admin-token-file"
                                                  : "by tokens of " + flags.admin_tokens);
}

/// Who may call.
struct Accesses {
  std::shared_ptr<access::Access> tenants;
  std::shared_ptr<access::Access> admins;  ///< null: none
};

absl::StatusOr<Accesses> OpenAccesses(const Flags& flags) {
  auto tenants = access::Access::Open(flags.tokens);
  if (!tenants.ok()) return tenants.status();
  Accesses accesses{.tenants = *std::move(tenants), .admins = nullptr};
  if (flags.admin_tokens.empty()) return accesses;
  auto admins = access::Access::Open(flags.admin_tokens);
  if (!admins.ok()) return admins.status();
  accesses.admins = *std::move(admins);
  return accesses;
}

void ReloadTokens(const Accesses& accesses) {
  absl::Status status = accesses.tenants->Reload();
  if (accesses.admins != nullptr) status.Update(accesses.admins->Reload());
  if (status.ok()) {
    spdlog::info("tokens read again");
  } else {
    spdlog::error("the tokens that cannot be read stay as they were: {}",
                  std::string(status.message()));
  }
}

/// After very many connections the allocator keeps hundreds of MiB of free memory. Returns it to
/// the system when there is more than last time.
void ReturnFreeMemory() {
  constexpr size_t kWorthwhile = size_t{32} << 20;
  static size_t free_before = 0;
  const size_t free_bytes = mallinfo2().fordblks;
  if (free_bytes > free_before + kWorthwhile) {
    malloc_trim(0);
    free_before = mallinfo2().fordblks;
  }
  free_before = std::min(free_before, free_bytes);
}

/// Returns when a signal asks for the end, or the device is lost.
void WaitForTermination(const sigset_t& signals, const Accesses& accesses,
                        const models::ModelRegistry& models) {
  constexpr timespec kHousekeeping{.tv_sec = 5, .tv_nsec = 0};
  int signal = 0;
  while (signal != SIGTERM && signal != SIGINT) {
    signal = sigtimedwait(&signals, nullptr, &kHousekeeping);
    if (DeviceFailed(models)) return;
    if (signal < 0) ReturnFreeMemory();
    if (signal == SIGHUP) ReloadTokens(accesses);
    if (signal == SIGUSR1) log::ShiftLogLevel(+1);
    if (signal == SIGUSR2) log::ShiftLogLevel(-1);
  }
  spdlog::info("{} received", sigabbrev_np(signal));
  LetSignalsEndTheProcess();
}

/// What is already written of a stream gets this long to reach its reader.
constexpr std::chrono::seconds kFlushTime(2);

/// While the result lives: ends the process with `code` when a model loads after kFlushTime. What
/// an administrator asked for cannot be stopped, may take minutes, and nobody waits for it.
std::jthread EndBesideLoads(const ModelLoader& loader, int code) {
  return std::jthread([&loader, code](const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop, kFlushTime, [] { return false; });
    if (stop.stop_requested() || !loader.IsLoading()) return;
    spdlog::warn("a model still loads: the server ends without it");
    log::CloseLog(kLogPatience);
    std::_Exit(code);
  });
}

void Drain(const models::ModelRegistry& models, const ModelLoader& loader, rpc::RpcServer& server,
           StatusPages& pages, double seconds) {
  spdlog::info("draining: running requests get {} s", seconds);
  server.SetServing(false);
  pages.Drain();
  models.Drain(absl::Seconds(seconds));
  const std::jthread beside_loads =
      EndBesideLoads(loader, DeviceFailed(models) ? EXIT_FAILURE : EXIT_SUCCESS);
  server.Shutdown(absl::FromChrono(kFlushTime));
  spdlog::info("stopped");
}

/// A server that does not listen yet has nothing to drain.
void EndWhileLoading(int signal) {
  spdlog::info("{} received before the server listened: it ends", sigabbrev_np(signal));
  log::CloseLog(kLogPatience);
  std::_Exit(EXIT_SUCCESS);
}

absl::Status Serve(const Flags& flags, const sigset_t& signals) {
  std::optional<StartInterrupt> loading(EndWhileLoading);
  const auto accesses = OpenAccesses(flags);
  if (!accesses.ok()) return accesses.status();
  const auto sources = SourcesOf(flags);
  if (!sources.ok()) return sources.status();
  LogSecurity(flags);
  metrics::Exposition exposition;
  const auto process_metrics = std::make_shared<metrics::ProcessMetrics>();
  const auto call_metrics = std::make_shared<metrics::CallMetrics>();
  exposition.Add(process_metrics);
  exposition.Add(call_metrics->registry());
  ModelLoader loader(flags, sources->front().name, exposition);
  models::ModelRegistry models([&loader](const auto& source) { return loader.Load(source); });
  Probes probes(exposition);  // goes before the models, which it asks
  if (absl::Status http = StartHttp(flags.http, probes); !http.ok()) return http;
  if (absl::Status loaded = LoadModels(*sources, models); !loaded.ok()) return loaded;
  service::Service service(models,
                           {.access = accesses->tenants,
                            .observer = std::make_shared<CallWatch>(call_metrics, FormatOf(flags)),
                            .admins = accesses->admins,
                            .unload_seconds = flags.drain_seconds,
                            .limits = flags.limits,
                            .keep_prompts = flags.log_prompts});
  auto server = rpc::RpcServer::Start(service, flags.door);
  if (!server.ok()) return server.status();
  const auto& connections = (*server)->connections();
  const auto door_metrics =
      std::make_shared<metrics::DoorMetrics>(connections, (*server)->certificates());
  exposition.Add(door_metrics);
  probes.pages.Serve(
      [&models, connections] { return connections->Counts().full || AllAreFull(models); });
  loading.reset();
  spdlog::info("listening on {}, port {}", flags.door.listen, (*server)->port());
  WaitForTermination(signals, *accesses, models);
  const bool failed = DeviceFailed(models);
  Drain(models, loader, **server, probes.pages, failed ? 0 : flags.drain_seconds);
  if (failed) return absl::UnavailableError("the device failed; the server has to start again");
  return absl::OkStatus();
}

int Run(const Flags& flags) {
  const sigset_t signals = BlockSignals();
  log::SetUpLog(flags.log_level, FormatOf(flags));
  net::RaiseDescriptorLimit();
  const absl::Status status = Serve(flags, signals);
  if (!status.ok()) spdlog::error("{}", std::string(status.message()));
  const int code = status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
  if (!log::CloseLog(kLogPatience)) std::_Exit(code);
  return code;
}

}  // namespace
}  // namespace fmaserver

int main(int argc, char** argv) {
  fmaserver::PrepareProcess();
  CLI::App app;
  fmaserver::Flags flags;
  fmaserver::AddFlags(app, flags);
  if (const auto code = fmaserver::ParseCommandLine(app, argc, argv)) return *code;
  if (flags.print_config) {
    fmaserver::WriteOutput(app.config_to_str(/*default_also=*/true, /*write_description=*/true));
    return fmaserver::FinishOutput(EXIT_SUCCESS);
  }
  return fmaserver::Run(flags);
}
