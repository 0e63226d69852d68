// fma-server: loads a checkpoint and serves it over gRPC until SIGTERM or SIGINT.
#include <malloc.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/access/access.h"
#include "server/flags.h"
#include "server/http/http_server.h"
#include "server/load_model.h"
#include "server/log/call_log.h"
#include "server/log/log.h"
#include "server/metrics/call_metrics.h"
#include "server/metrics/exposition.h"
#include "server/metrics/process_metrics.h"
#include "server/models/model_registry.h"
#include "server/rpc/rpc_server.h"
#include "server/service/service.h"
#include "server/status_pages.h"

namespace fmaserver {
namespace {

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
    auto source = models::ParseSource(text);
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

void LogSecurity(const Flags& flags) {
  const service::TlsOptions& tls = flags.door.tls;
  spdlog::info("security: {}, {}",
               tls.cert.empty()        ? "plain text"
               : tls.client_ca.empty() ? "TLS"
                                       : "mutual TLS",
               flags.tokens.empty() ? "no tokens: everybody may call" : "tokens are needed");
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

sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, signal);
  return signals;
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

/// After a storm of connections the allocator keeps hundreds of MiB that are free. Gives them back
/// when there are more than last time.
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

/// Returns when a signal says so, or the device is lost.
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
  // From here on a second one has its ordinary effect, in this thread only: it kills.
  sigset_t again;
  sigemptyset(&again);
  sigaddset(&again, SIGTERM);
  sigaddset(&again, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &again, nullptr);
}

void Drain(const models::ModelRegistry& models, rpc::RpcServer& server, StatusPages& pages,
           double seconds) {
  // What is already written of a stream gets this long to reach its reader.
  constexpr absl::Duration kFlushTime = absl::Seconds(2);
  spdlog::info("draining: running requests get {} s", seconds);
  server.SetServing(false);
  pages.Drain();
  models.Drain(absl::Seconds(seconds));
  server.Shutdown(kFlushTime);
  spdlog::info("stopped");
}

absl::Status Serve(const Flags& flags, const sigset_t& signals) {
  const auto accesses = OpenAccesses(flags);
  if (!accesses.ok()) return accesses.status();
  const auto sources = SourcesOf(flags);
  if (!sources.ok()) return sources.status();
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
  probes.pages.Serve([&models] { return AllAreFull(models); });
  LogSecurity(flags);
  spdlog::info("listening on {}, port {}", flags.door.listen, (*server)->port());
  WaitForTermination(signals, *accesses, models);
  const bool failed = DeviceFailed(models);
  Drain(models, **server, probes.pages, failed ? 0 : flags.drain_seconds);
  if (failed) return absl::UnavailableError("the device failed; the server has to start again");
  return absl::OkStatus();
}

int Run(const Flags& flags) {
  constexpr std::chrono::seconds kLogPatience(2);
  // Before the first thread, so that all of them leave the signals to sigwait().
  const sigset_t signals = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  log::SetUpLog(flags.log_level, FormatOf(flags));
  const absl::Status status = Serve(flags, signals);
  if (!status.ok()) spdlog::error("{}", std::string(status.message()));
  const int code = status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
  if (!log::CloseLog(kLogPatience)) std::_Exit(code);
  return code;
}

}  // namespace
}  // namespace fmaserver

int main(int argc, char** argv) {
  constexpr int kWrongUsage = 2;
  CLI::App app;
  fmaserver::Flags flags;
  fmaserver::AddFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == EXIT_SUCCESS ? EXIT_SUCCESS : kWrongUsage;
  }
  if (flags.print_config) {
    std::cout << app.config_to_str(/*default_also=*/true, /*write_description=*/true);
    return EXIT_SUCCESS;
  }
  return fmaserver::Run(flags);
}
