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

#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "server/access/access.h"
#include "server/engine/engine.h"
#include "server/flags.h"
#include "server/http/http_server.h"
#include "server/log/call_log.h"
#include "server/log/log.h"
#include "server/metrics/call_metrics.h"
#include "server/metrics/device_metrics.h"
#include "server/metrics/exposition.h"
#include "server/metrics/metrics.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/session_metrics.h"
#include "server/rpc/rpc_server.h"
#include "server/service/service.h"
#include "server/sessions/fingerprint.h"
#include "server/sessions/session_store.h"
#include "server/status_pages.h"

namespace fmaserver {
namespace {

log::LogFormat FormatOf(const Flags& flags) {
  return flags.log_format == "json" ? log::LogFormat::kJson : log::LogFormat::kText;
}

absl::StatusOr<std::unique_ptr<engine::Model>> LoadModel(const model::Checkpoint& checkpoint,
                                                         const Flags& flags) {
  auto device = kernels::MakeBackend(flags.device, flags.threads);
  if (!device.ok()) return device.status();
  if (!device->why.empty()) spdlog::info("no GPU: {}", device->why);
  return engine::Model::Load(checkpoint, std::move(device->backend),
                             {.max_rows = engine::Engine::MaxRows(flags.engine),
                              .cache_type = *kernels::CacheTypeNamed(flags.cache_dtype)});
}

absl::StatusOr<std::unique_ptr<sessions::SessionStore>> OpenSessions(
    const model::Checkpoint& checkpoint, const engine::Model& model,
    const sessions::SessionOptions& options, sessions::SessionObserver& observer) {
  return sessions::SessionStore::Open({.fingerprint = sessions::ModelFingerprint(
                                           checkpoint.ReadFingerprints().current, model.layout()),
                                       .slot_bytes = model.slot_bytes(),
                                       .vocab_size = model.config().vocab_size},
                                      options, &observer);
}

/// What the services serve, and what counts it.
struct Served {
  std::shared_ptr<metrics::Metrics> metrics;
  std::shared_ptr<metrics::SessionMetrics> session_metrics;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<sessions::SessionStore> sessions;
};

// The checkpoint itself is closed again: the engine has a copy of the weights.
absl::StatusOr<Served> Load(const Flags& flags) {
  const auto checkpoint = model::Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  auto model = LoadModel(*checkpoint, flags);
  if (!model.ok()) return model.status();
  Served served;
  served.metrics = std::make_shared<metrics::Metrics>(
      metrics::ModelFacts{.name = (*model)->name(),
                          .layout = (*model)->layout(),
                          .slots = flags.engine.num_slots,
                          .weight_bytes = (*model)->weight_bytes()});
  served.session_metrics = std::make_shared<metrics::SessionMetrics>((*model)->name());
  auto sessions = OpenSessions(*checkpoint, **model, flags.sessions, *served.session_metrics);
  if (!sessions.ok()) return sessions.status();
  served.sessions = *std::move(sessions);
  served.session_metrics->Watch(served.sessions.get());
  auto engine = engine::Engine::Create(*std::move(model), checkpoint->tokenizer(), flags.engine,
                                       served.metrics);
  if (!engine.ok()) return engine.status();
  served.engine = *std::move(engine);
  return served;
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
  metrics::Exposition exposition;
  StatusPages pages{exposition};
  std::unique_ptr<http::HttpServer> http;
};

absl::Status StartHttp(const std::string& address, Probes& probes) {
  probes.exposition.Add(std::make_shared<metrics::ProcessMetrics>());
  if (address.empty()) return absl::OkStatus();
  auto http = http::HttpServer::Start(
      address, [&probes](const std::string& path) { return probes.pages.Answer(path); });
  if (!http.ok()) return http.status();
  probes.http = *std::move(http);
  spdlog::info("HTTP on {}, port {}", address, probes.http->port());
  return absl::OkStatus();
}

void ShowServing(const Served& served, Probes& probes) {
  probes.exposition.Add(served.metrics->registry());
  probes.exposition.Add(served.session_metrics);
  const engine::Engine& engine = *served.engine;
  probes.exposition.Add(
      std::make_shared<metrics::DeviceMetrics>(engine.model().name(), engine.model().backend()));
  probes.pages.Serve([&engine] { return engine.IsFull(); });
}

std::string Mebibytes(int64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20));
}

void LogStart(const engine::Engine& engine, const rpc::RpcServer& server, const Flags& flags) {
  const engine::Model& model = engine.model();
  const int32_t slots = engine.options().num_slots;
  spdlog::info("model {}: {} parameters in {}, tokenizer {}", model.name(), model.num_parameters(),
               Mebibytes(model.weight_bytes()),
               engine.tokenizer() == nullptr ? "none" : engine.tokenizer()->Kind());
  spdlog::info("device {}", model.device());
  spdlog::info("{} slots of {}: {} of sequence state, whatever the length", slots,
               Mebibytes(model.slot_bytes()), Mebibytes(slots * model.slot_bytes()));
  spdlog::info("listening on {}, port {}", flags.door.listen, server.port());
}

void LogSecurity(const Flags& flags) {
  const service::TlsOptions& tls = flags.door.tls;
  spdlog::info("security: {}, {}",
               tls.cert.empty()        ? "plain text"
               : tls.client_ca.empty() ? "TLS"
                                       : "mutual TLS",
               flags.tokens.empty() ? "no tokens: everybody may call" : "tokens are needed");
}

void LogSessions(const sessions::SessionStore& sessions) {
  const sessions::SessionOptions& options = sessions.options();
  spdlog::info("sessions: {} in memory at most, {}", Mebibytes(options.memory_bytes),
               options.dir.empty() ? "none saved" : "saved in " + options.dir.string());
  if (!options.dir.empty()) spdlog::info("{} sessions found", sessions.Stats().on_disk);
}

sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, signal);
  return signals;
}

void ReloadTokens(access::Access& access) {
  const absl::Status status = access.Reload();
  if (status.ok()) {
    spdlog::info("tokens read again");
  } else {
    spdlog::error("the tokens stay as they were: {}", std::string(status.message()));
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
void WaitForTermination(const sigset_t& signals, access::Access& access,
                        const engine::Engine& engine) {
  constexpr timespec kHousekeeping{.tv_sec = 5, .tv_nsec = 0};
  int signal = 0;
  while (signal != SIGTERM && signal != SIGINT) {
    signal = sigtimedwait(&signals, nullptr, &kHousekeeping);
    if (engine.DeviceFailed()) return;
    if (signal < 0) ReturnFreeMemory();
    if (signal == SIGHUP) ReloadTokens(access);
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

void Drain(engine::Engine& engine, rpc::RpcServer& server, StatusPages& pages, double seconds) {
  // What is already written of a stream gets this long to reach its reader.
  constexpr absl::Duration kFlushTime = absl::Seconds(2);
  spdlog::info("draining: running requests get {} s", seconds);
  server.SetServing(false);
  pages.Drain();
  engine.Drain(absl::Seconds(seconds));
  server.Shutdown(kFlushTime);
  spdlog::info("stopped");
}

absl::Status Serve(const Flags& flags, const sigset_t& signals) {
  auto opened = access::Access::Open(flags.tokens);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<access::Access> access = *std::move(opened);
  const auto call_metrics = std::make_shared<metrics::CallMetrics>();
  Served served;
  Probes probes;  // goes first: a scrape asks what is served
  probes.exposition.Add(call_metrics->registry());
  if (absl::Status http = StartHttp(flags.http, probes); !http.ok()) return http;
  auto loaded = Load(flags);
  if (!loaded.ok()) return loaded.status();
  served = *std::move(loaded);
  service::Service service(*served.engine, *served.sessions,
                           {.access = access,
                            .observer = std::make_shared<CallWatch>(call_metrics, FormatOf(flags)),
                            .limits = flags.limits,
                            .keep_prompts = flags.log_prompts});
  auto server = rpc::RpcServer::Start(service, flags.door);
  if (!server.ok()) return server.status();
  ShowServing(served, probes);
  LogSessions(*served.sessions);
  LogSecurity(flags);
  LogStart(*served.engine, **server, flags);
  WaitForTermination(signals, *access, *served.engine);
  const bool failed = served.engine->DeviceFailed();
  Drain(*served.engine, **server, probes.pages, failed ? 0 : flags.drain_seconds);
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
  CLI::App app("fma-server - serves a Fast Multipole Attention transformer over gRPC");
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
