// fma-server: loads a checkpoint and serves it over gRPC until SIGTERM or SIGINT.
#include <google/protobuf/stubs/logging.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "server/engine/engine.h"
#include "server/flags.h"
#include "server/rpc/rpc_server.h"
#include "server/sessions/fingerprint.h"
#include "server/sessions/session_store.h"

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

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Checkpoint& checkpoint,
                                                   const Flags& flags) {
  auto device = MakeBackend(flags.device, flags.threads);
  if (!device.ok()) return device.status();
  if (!device->why.empty()) spdlog::info("no GPU: {}", device->why);
  auto model = Model::Load(checkpoint, std::move(device->backend),
                           {.max_rows = Engine::MaxRows(flags.engine)});
  if (!model.ok()) return model.status();
  return Engine::Create(*std::move(model), checkpoint.tokenizer(), flags.engine);
}

absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessions(const Checkpoint& checkpoint,
                                                           const Engine& engine,
                                                           const Flags& flags) {
  const Model& model = engine.model();
  return SessionStore::Open(
      {.fingerprint = ModelFingerprint(checkpoint.Fingerprint(), model.layout()),
       .slot_bytes = model.slot_bytes(),
       .vocab_size = model.config().vocab_size},
      flags.sessions, /*observer=*/nullptr);
}

/// What the services serve.
struct Served {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<SessionStore> sessions;
};

// The checkpoint itself is closed again: the engine has a copy of the weights.
absl::StatusOr<Served> Load(const Flags& flags) {
  const auto checkpoint = Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  auto engine = MakeEngine(*checkpoint, flags);
  if (!engine.ok()) return engine.status();
  auto sessions = OpenSessions(*checkpoint, **engine, flags);
  if (!sessions.ok()) return sessions.status();
  return Served{.engine = *std::move(engine), .sessions = *std::move(sessions)};
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

void Drain(Engine& engine, RpcServer& server, double seconds) {
  // What is already written of a stream gets this long to reach its reader.
  constexpr absl::Duration kFlushTime = absl::Seconds(2);
  spdlog::info("draining: running requests get {} s", seconds);
  server.SetServing(false);
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
  const auto served = Load(flags);
  if (!served.ok()) return Fail(served.status());
  Engine& engine = *served->engine;
  auto server = RpcServer::Start(engine, *served->sessions, flags.rpc);
  if (!server.ok()) return Fail(server.status());
  LogStart(engine, **server, flags);
  LogSessions(*served->sessions);
  WaitForTermination(signals);
  Drain(engine, **server, flags.drain_seconds);
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
  return fmaserver::Run(flags);
}
