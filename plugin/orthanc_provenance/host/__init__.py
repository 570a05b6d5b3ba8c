"""The only room that knows Orthanc: callbacks, the archive behind them, and the bridge to the web app."""
