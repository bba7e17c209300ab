package main

import (
	"io"
	"log/slog"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
)

// logging is what is logged, and how. The zero value logs everything from the level of information on, as JSON.
type logging struct {
	text   bool
	levels map[egv1a1.EnvoyGatewayLogComponent]slog.Level
}

var slogLevels = map[egv1a1.LogLevel]slog.Level{
	egv1a1.LogLevelDebug: slog.LevelDebug, egv1a1.LogLevelInfo: slog.LevelInfo, egv1a1.LogLevelWarn: slog.LevelWarn,
	egv1a1.LogLevelError: slog.LevelError,
}

func newLogging(l *egv1a1.EnvoyGatewayLogging) logging {
	if l == nil {
		return logging{}
	}
	out := logging{
		text:   l.Encoder != nil && *l.Encoder == egv1a1.EnvoyGatewayLogEncoderText,
		levels: map[egv1a1.EnvoyGatewayLogComponent]slog.Level{},
	}
	for component, level := range l.Level {
		out.levels[component] = slogLevels[level]
	}
	return out
}

// level is that of the first of the components that has one of its own, or the default.
func (l logging) level(components ...egv1a1.EnvoyGatewayLogComponent) slog.Level {
	for _, c := range append(slices.Clone(components), egv1a1.LogComponentGatewayDefault) {
		if level, ok := l.levels[c]; ok {
			return level
		}
	}
	return slog.LevelInfo
}

// logger returns the log of some components: what they have in common is the level.
func (l logging) logger(out io.Writer, components ...egv1a1.EnvoyGatewayLogComponent) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.level(components...)}
	if l.text {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}
