// fma-server: loads a checkpoint and serves it over gRPC until SIGTERM or SIGINT.
#include <google/protobuf/stubs/logging.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "server/engine/engine.h"
#include "server/flags.h"
#include "server/http/http_server.h"
#include "server/metrics/exposition.h"
#include "server/metrics/metrics.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/session_metrics.h"
#include "server/rpc/rpc_server.h"
#include "server/sessions/fingerprint.h"
#include "server/sessions/session_store.h"
#include "server/status_pages.h"

namespace fmaserver {
namespace {

void SetUpLogging(const std::string& level) {
  spdlog::set_level(spdlog::level::from_str(level));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  // Protobuf complains about every broken request, which the client is told of already.
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel /*level*/, const char* /*file*/, int /*line*/,
         const std::string& message) { spdlog::debug("protobuf: {}", message); });
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint, const Flags& flags) {
  auto device = MakeBackend(flags.device, flags.threads);
  if (!device.ok()) return device.status();
  if (!device->why.empty()) spdlog::info("no GPU: {}", device->why);
  return Model::Load(checkpoint, std::move(device->backend),
                     {.max_rows = Engine::MaxRows(flags.engine)});
}

absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessions(const Checkpoint& checkpoint,
                                                           const Model& model,
                                                           const SessionOptions& options,
                                                           SessionObserver& observer) {
  return SessionStore::Open(
      {.fingerprint = ModelFingerprint(checkpoint.Fingerprint(), model.layout()),
       .slot_bytes = model.slot_bytes(),
       .vocab_size = model.config().vocab_size},
      options, &observer);
}

/// What the services serve, and what counts it.
struct Served {
  std::shared_ptr<Metrics> metrics;
  std::shared_ptr<SessionMetrics> session_metrics;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<SessionStore> sessions;
};

// The checkpoint itself is closed again: the engine has a copy of the weights.
absl::StatusOr<Served> Load(const Flags& flags) {
  const auto checkpoint = Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  auto model = LoadModel(*checkpoint, flags);
  if (!model.ok()) return model.status();
  Served served;
  served.metrics = std::make_shared<Metrics>(ModelFacts{.name = (*model)->name(),
                                                        .layout = (*model)->layout(),
                                                        .slots = flags.engine.num_slots,
                                                        .weight_bytes = (*model)->weight_bytes()});
  served.session_metrics = std::make_shared<SessionMetrics>((*model)->name());
  auto sessions = OpenSessions(*checkpoint, **model, flags.sessions, *served.session_metrics);
  if (!sessions.ok()) return sessions.status();
  served.sessions = *std::move(sessions);
  served.session_metrics->Watch(served.sessions.get());
  auto engine =
      Engine::Create(*std::move(model), checkpoint->tokenizer(), flags.engine, served.metrics);
  if (!engine.ok()) return engine.status();
  served.engine = *std::move(engine);
  return served;
}

/// The HTTP port, when there is one, and what it answers from.
struct Status {
  Exposition exposition;
  StatusPages pages{exposition};
  std::unique_ptr<HttpServer> http;
};

absl::Status StartHttp(const std::string& address, Status& status) {
  status.exposition.Add(std::make_shared<ProcessMetrics>());
  if (address.empty()) return absl::OkStatus();
  auto http = HttpServer::Start(
      address, [&status](const std::string& path) { return status.pages.Answer(path); });
  if (!http.ok()) return http.status();
  status.http = *std::move(http);
  spdlog::info("HTTP on {}, port {}", address, status.http->port());
  return absl::OkStatus();
}

void ShowServing(const Served& served, const EngineOptions& options, Status& status) {
  status.exposition.Add(served.metrics->registry());
  status.exposition.Add(served.session_metrics);
  status.pages.Serve([metrics = served.metrics, options] {
    return metrics->NumRequests() >= options.num_slots + options.max_queue;
  });
}

std::string Mebibytes(int64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20));
}

void LogStart(const Engine& engine, const RpcServer& server, const Flags& flags) {
  const Model& model = engine.model();
  const int32_t slots = engine.options().num_slots;
  spdlog::info("model {}: {} parameters in {}, tokenizer {}", model.name(), model.num_parameters(),
               Mebibytes(model.weight_bytes()),
               engine.tokenizer() == nullptr ? "none" : engine.tokenizer()->Kind());
  spdlog::info("device {}", model.device());
  spdlog::info("{} slots of {}: {} of sequence state, whatever the length", slots,
               Mebibytes(model.slot_bytes()), Mebibytes(slots * model.slot_bytes()));
  spdlog::info("listening on {}, port {}", flags.rpc.listen, server.port());
}

void LogSessions(const SessionStore& sessions) {
  const SessionOptions& options = sessions.options();
  spdlog::info("sessions: {} in memory at most, {}", Mebibytes(options.memory_bytes),
               options.dir.empty() ? "none saved" : "saved in " + options.dir.string());
  if (!options.dir.empty()) spdlog::info("{} sessions found", sessions.Stats().on_disk);
}

sigset_t TerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

void WaitForTermination(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("{} received", sigabbrev_np(signal));
  // From here on a signal has its ordinary effect, in this thread only: a second one kills.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void Drain(Engine& engine, RpcServer& server, StatusPages& pages, double seconds) {
  // What is already written of a stream gets this long to reach its reader.
  constexpr absl::Duration kFlushTime = absl::Seconds(2);
  spdlog::info("draining: running requests get {} s", seconds);
  server.SetServing(false);
  pages.Drain();
  engine.Drain(absl::Seconds(seconds));
  server.Shutdown(kFlushTime);
  spdlog::info("stopped");
}

int Fail(const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  return EXIT_FAILURE;
}

int Run(const Flags& flags) {
  // Before the first thread, so that all of them leave the signals to sigwait().
  const sigset_t signals = TerminationSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  SetUpLogging(flags.log_level);
  Served served;
  Status status;  // goes first: a scrape asks what is served
  if (absl::Status http = StartHttp(flags.http, status); !http.ok()) return Fail(http);
  auto loaded = Load(flags);
  if (!loaded.ok()) return Fail(loaded.status());
  served = *std::move(loaded);
  auto server = RpcServer::Start(*served.engine, *served.sessions, flags.rpc);
  if (!server.ok()) return Fail(server.status());
  ShowServing(served, flags.engine, status);
  LogSessions(*served.sessions);
  LogStart(*served.engine, **server, flags);
  WaitForTermination(signals);
  Drain(*served.engine, **server, status.pages, flags.drain_seconds);
  return EXIT_SUCCESS;
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
