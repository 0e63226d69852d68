// The file of --config: what is read of it, and what --print-config writes.
//
// Lines are KEY = VALUE, in a subset of TOML: a VALUE is "text" with the escapes \" \\ \n \r \t and
// \xHH, 'text' without any, a list [VALUE, VALUE] over as many lines as it likes, or a word, which
// reaches to the end of its line. A key alone means true. # begins a comment.
#pragma once

#include <CLI/CLI.hpp>
#include <iosfwd>
#include <string>
#include <vector>

namespace fmaserver {

class ConfigFile final : public CLI::Config {
 public:
  /// `app`, whose options the keys are, outlives this object.
  explicit ConfigFile(const CLI::App& app) : app_(app) {}

  /// Leaves out what the environment says, because that wins. CLI::ConfigError names the line.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

  /// Every option as it holds, with its description; from_config() reads it back.
  std::string to_config(const CLI::App* app, bool default_also, bool write_description,
                        std::string prefix) const override;

 private:
  const CLI::App& app_;
};

}  // namespace fmaserver
