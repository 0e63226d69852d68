// fma-server: loads a checkpoint and serves it over gRPC until SIGTERM or SIGINT.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"
#include "server/access/accesses.h"
#include "server/flags.h"
#include "server/http/http_server.h"
#include "server/kserve/inference_service.h"
#include "server/load_model.h"
#include "server/log/call_log.h"
#include "server/log/log.h"
#include "server/metrics/call_metrics.h"
#include "server/metrics/door_metrics.h"
#include "server/metrics/exposition.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/trace_metrics.h"
#include "server/models/model_registry.h"
#include "server/net/descriptor_limit.h"
#include "server/openai/openai_server.h"
#include "server/rpc/rpc_server.h"
#include "server/service/service.h"
#include "server/shutdown.h"
#include "server/signals.h"
#include "server/status_pages.h"
#include "server/tracing/tracer.h"
#include "server/vllm/services.h"

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
    auto source =
        models::ParseSource(text, sources.empty() ? flags.model_names : std::vector<std::string>());
    if (!source.ok()) return source.status();
    sources.push_back(*std::move(source));
  }
  return sources;
}

/// Counts, logs and traces each call.
class CallWatch final : public service::CallObserver {
 public:
  /// `tracer` may be null, and is not kept alive: who made it ends it when all calls are over.
  CallWatch(std::shared_ptr<metrics::CallMetrics> metrics, log::LogFormat format,
            tracing::Tracer* tracer)
      : metrics_(std::move(metrics)), log_(format), tracer_(tracer) {}
  std::shared_ptr<service::CallTrace> Trace(const service::CallMetadata& checked) override {
    return tracer_ == nullptr ? nullptr : tracer_->Trace(checked);
  }
  void OnCall(const service::CallReport& report) override {
    metrics_->OnCall(report);
    log_.OnCall(report);
    if (tracer_ != nullptr) tracer_->OnCall(report);
  }

 private:
  const std::shared_ptr<metrics::CallMetrics> metrics_;
  log::CallLog log_;
  tracing::Tracer* const tracer_;
};

/// Null: nothing is traced.
absl::StatusOr<std::unique_ptr<tracing::Tracer>> StartTracing(const Flags& flags) {
  tracing::TracingOptions options = flags.tracing;
  if (options.endpoint.empty()) {
    if (const std::string& why = options.why_not_standard; !why.empty()) {
      spdlog::info("tracing off: {}", why);
    }
    return nullptr;
  }
  options.listen = {flags.door.listen, flags.openai};
  const auto plan = tracing::Prepare(options);
  if (!plan.ok()) return plan.status();
  spdlog::info("tracing to {}", plan->endpoint.target);
  return std::make_unique<tracing::Tracer>(*plan);
}

/// The HTTP port, when there is one, and what it answers from.
struct Probes {
  Probes(const metrics::Exposition& exposition, const LoadProgress& progress)
      : pages(exposition, [&progress] { return progress.Text(); }) {}

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

/// The OpenAI door, with the connections and certificates of the gRPC door; null: none is wanted.
absl::StatusOr<std::unique_ptr<openai::OpenAiServer>> StartOpenAi(const Flags& flags,
                                                                  service::Service& service,
                                                                  const rpc::RpcServer& rpc) {
  if (flags.openai.empty()) return nullptr;
  service::DoorOptions options = flags.door;
  options.listen = flags.openai;
  auto server =
      openai::OpenAiServer::Start(service, options, rpc.connections(), rpc.certificates());
  if (server.ok()) spdlog::info("OpenAI API on {}, port {}", flags.openai, (*server)->port());
  return server;
}

/// Whether no model would take the next request.
bool AllAreFull(const models::ModelRegistry& models) {
  return std::ranges::all_of(
      models.List(), [](const models::ModelPtr& model) { return model->runner().IsFull(); });
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

absl::Status Serve(const Flags& flags, const sigset_t& signals) {
  std::optional<StartInterrupt> loading(EndWhileLoading);
  const auto accesses = access::Accesses::Open(flags.tokens, flags.admin_tokens);
  if (!accesses.ok()) return accesses.status();
  const auto sources = SourcesOf(flags);
  if (!sources.ok()) return sources.status();
  LogSecurity(flags);
  const auto tracer = StartTracing(flags);  // goes after the calls
  if (!tracer.ok()) return tracer.status();
  metrics::Exposition exposition(/*vllm_names=*/flags.metrics_names == "vllm");
  const auto process_metrics = std::make_shared<metrics::ProcessMetrics>(flags.role);
  const auto call_metrics = std::make_shared<metrics::CallMetrics>();
  exposition.Add(process_metrics);
  exposition.Add(call_metrics->registry());
  std::shared_ptr<metrics::TraceMetrics> trace_metrics;
  if (*tracer) trace_metrics = std::make_shared<metrics::TraceMetrics>((*tracer)->counts());
  exposition.Add(trace_metrics);
  ModelLoader loader(flags, sources->front().name, accesses->tenants, exposition);
  models::ModelRegistry models([&loader](const auto& source) { return loader.Load(source); });
  Probes probes(exposition, loader.progress());  // goes before the models, which it asks
  if (absl::Status http = StartHttp(flags.http, probes); !http.ok()) return http;
  if (absl::Status loaded = LoadModels(*sources, models); !loaded.ok()) return loaded;
  service::RequestLimits limits = flags.limits;
  limits.share.role = service::RoleOf(flags.role);
  service::Service service(models, {.access = accesses->tenants,
                                    .observer = std::make_shared<CallWatch>(
                                        call_metrics, FormatOf(flags), tracer->get()),
                                    .admins = accesses->admins,
                                    .unload_seconds = flags.drain_seconds,
                                    .limits = limits,
                                    .keep_prompts = flags.log_prompts});
  rpc::ServiceMakers more = vllm::MakersOfServices();
  more.emplace_back(kserve::MakeInferenceService);
  auto server = rpc::RpcServer::Start(service, flags.door, more);
  if (!server.ok()) return server.status();
  const auto openai = StartOpenAi(flags, service, **server);
  if (!openai.ok()) return openai.status();
  const auto& connections = (*server)->connections();
  const auto door_metrics =
      std::make_shared<metrics::DoorMetrics>(connections, (*server)->certificates());
  exposition.Add(door_metrics);
  probes.pages.Serve(
      [&models, connections] { return connections->Counts().full || AllAreFull(models); });
  loading.reset();
  if (limits.share.role != service::Role::kAny) {
    spdlog::info("role: {}, and up to {} tokens of the other's work a call", flags.role,
                 limits.share.tokens);
  }
  spdlog::info("listening on {}, port {}", flags.door.listen, (*server)->port());
  const WhatEnds what{.models = models,
                      .loader = loader,
                      .server = **server,
                      .openai = openai->get(),
                      .pages = probes.pages};
  WaitForTermination(signals, *accesses, models);
  return Shutdown(what, flags.drain_seconds);
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
