// fma models: what the server serves, the limits, and what a sequence costs.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/model_printer.h"
#include "clients/cpp/output.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

const char* RoleName(v1::Role role) {
  switch (role) {
    case v1::ROLE_PREFILL:
      return "prefill";
    case v1::ROLE_DECODE:
      return "decode";
    default:
      return "any";
  }
}

nlohmann::json ToJson(const v1::Model& model) {
  return {{"name", model.name()},
          {"vocab_size", model.vocab_size()},
          {"max_sequence_length", model.max_sequence_length()},
          {"horizon_tokens", model.horizon_tokens()},
          {"tokenizer", model.tokenizer()},
          {"bos_token_ids", model.bos_token_ids()},
          {"eos_token_ids", model.eos_token_ids()},
          {"parameters", model.parameters()},
          {"weight_bytes", model.weight_bytes()},
          {"slot_bytes", model.slot_bytes()},
          {"parked_bytes", model.parked_bytes()},
          {"full_cache_bytes_per_token", model.full_cache_bytes_per_token()},
          {"num_slots", model.num_slots()},
          {"device", model.device()},
          {"server_version", model.server_version()},
          {"aliases", model.aliases()},
          {"chat", model.chat()},
          {"sampling",
           {{"temperature", model.sampling().temperature()},
            {"top_k", model.sampling().top_k()},
            {"top_p", model.sampling().top_p()},
            {"min_p", model.sampling().min_p()},
            {"repetition_penalty", model.sampling().repetition_penalty()}}},
          {"open_units", model.open_units()},
          {"archive_bytes_per_1000_tokens", model.archive_bytes_per_1000_tokens()},
          {"archive_budget_bytes", model.archive_budget_bytes()},
          {"archive_used_bytes", model.archive_used_bytes()},
          {"encoder", model.encoder()},
          {"mask_token_id",
           model.has_mask_token_id() ? nlohmann::json(model.mask_token_id()) : nlohmann::json()},
          {"hidden_size", model.hidden_size()},
          {"role", RoleName(model.role())},
          {"role_tokens", model.role_tokens()}};
}

std::string LengthLimit(const v1::Model& model) {
  return model.max_sequence_length() == 0
             ? "unlimited"
             : absl::StrCat(WithCommas(model.max_sequence_length()), " tokens");
}

std::string Sampling(const v1::SamplingParams& otherwise) {
  return absl::StrFormat("temperature %g, top_k %u, top_p %g, min_p %g, repetition_penalty %g",
                         otherwise.temperature(), otherwise.top_k(), otherwise.top_p(),
                         otherwise.min_p(), otherwise.repetition_penalty());
}

using Row = absl::FunctionRef<void(const char* name, const std::string& value)>;

void AddEncoderRows(const v1::Model& model, Row row) {
  row("kind", "encoder: for fma embed and fma fill-mask");
  row("text length", absl::StrCat("up to ", LengthLimit(model)));
  row("embedding", absl::StrCat(WithCommas(model.hidden_size()), " numbers"));
  row("mask token",
      model.has_mask_token_id() ? absl::StrCat("id ", model.mask_token_id()) : "none");
  row("horizon", absl::StrCat(WithCommas(model.horizon_tokens()), " tokens"));
  row("requests at once", WithCommas(model.num_slots()));
}

void AddDecoderRows(const v1::Model& model, Row row) {
  row("chat template", model.chat() ? "yes" : "none");
  row("sampling", Sampling(model.sampling()));
  row("sequence length", LengthLimit(model));
  row("horizon", absl::StrCat(WithCommas(model.horizon_tokens()), " tokens"));
  row("end of sequence", absl::StrJoin(model.eos_token_ids(), ", "));
  row("sequence cache", absl::StrCat(HumanBytes(model.slot_bytes()), ", however long it is"));
  if (model.parked_bytes() > 0) {
    row("parked session", absl::StrCat(HumanBytes(model.parked_bytes()), " between turns"));
  }
  if (model.open_units() > 0) {
    row("archive", absl::StrCat(HumanBytes(model.archive_bytes_per_1000_tokens()),
                                " per 1,000 tokens besides, of which each query opens ",
                                WithCommas(model.open_units()), " units"));
    row("archives", absl::StrCat(HumanBytes(model.archive_used_bytes()), " of ",
                                 HumanBytes(model.archive_budget_bytes())));
  }
  row("full KV cache", absl::StrCat(HumanBytes(model.full_cache_bytes_per_token()), " per token"));
  row("slots", absl::StrCat(WithCommas(model.num_slots()), " (",
                            HumanBytes(model.num_slots() * model.slot_bytes()), ")"));
}

std::string Table(const v1::Model& model) {
  std::string text;
  const auto row = [&text](const char* name, const std::string& value) {
    absl::StrAppendFormat(&text, "%-16s  %s\n", name, value);
  };
  row("model", model.name());
  if (model.aliases_size() > 0) row("also called", absl::StrJoin(model.aliases(), ", "));
  row("parameters",
      absl::StrCat(WithCommas(model.parameters()), " (", HumanBytes(model.weight_bytes()), ")"));
  row("vocabulary", absl::StrCat(WithCommas(model.vocab_size()), " tokens"));
  row("tokenizer", model.tokenizer().empty() ? "none: send token ids" : model.tokenizer());
  model.encoder() ? AddEncoderRows(model, row) : AddDecoderRows(model, row);
  row("device", model.device());
  row("server", model.server_version());
  if (model.role_tokens() > 0) {
    const bool reads = model.role() == v1::ROLE_PREFILL;
    row("role", absl::StrCat(RoleName(model.role()), ", ", reads ? "generates" : "reads", " up to ",
                             WithCommas(model.role_tokens()), " tokens a call"));
  }
  return text;
}

}  // namespace

void PrintModel(const v1::Model& model, bool json) {
  if (json) {
    PrintJsonLine(ToJson(model));
  } else {
    WriteOutput(Table(model));
  }
}

namespace {

int RunModels(const ConnectionOptions& options) {
  Connection connection(options);
  const auto served = connection.ListModels();
  if (!served.ok()) return connection.Report(served.status());
  for (const v1::Model& model : served->models()) {
    if (&model != &served->models(0) && !options.json) WriteOutput("\n");
    PrintModel(model, options.json);
  }
  return kDone;
}

}  // namespace

void AddModelsCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<ConnectionOptions>();
  CLI::App& command =
      *app.add_subcommand("models", "The models that the server serves and what a sequence costs");
  AddConnectionOptions(command, *options);
  command.callback([options, &run] { run = [options] { return RunModels(*options); }; });
}

}  // namespace fmaserver::client
